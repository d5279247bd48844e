"""The stage as the driver starts it: checked before the run, refused at its end, resumed, and up to date."""

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import TOKEN, fake_hub
from huggingface_hub import ModelCard

from sciriff.config import SAMPLE, PublishConfig, load
from sciriff.driver import pipeline, stage_inputs
from sciriff.driver.preflight import publishing
from sciriff.driver.requeue import ProgressSinceStart
from sciriff.run.run_dir import RunDir

SECRETS = {"HF_TOKEN": TOKEN, "WANDB_API_KEY": "5ec2e7" * 6 + "5ec2", "OPENAI_API_KEY": "sk-a5ecretofthejudge"}
EARLIER = Path(__file__).parents[1] / "driver" / "earlier_run"

pytestmark = pytest.mark.slow


def test_a_finished_run_is_pushed_by_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sample").symlink_to(SAMPLE)
    with tarfile.open(EARLIER / "finished.tar.xz") as archive:
        archive.extractall(".", filter="data")
    monkeypatch.setattr(stage_inputs, "__version__", "0.1.0")
    run = RunDir(Path("run").absolute())
    config = load(run.config)
    publish = PublishConfig(to="hub", repo="ada/reader", what=["model", "mix"])
    config = replace(config, publish=publish, stages=[*config.stages, "publish"])
    for name, value in {**SECRETS, "HF_HUB_DISABLE_XET": "1"}.items():
        monkeypatch.setenv(name, value)

    with fake_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert list(publishing.refused_push(config)) == []
        assert "licence of the rows" not in capfd.readouterr().err
        public = replace(publish, private=False)
        assert list(publishing.refused_push(replace(config, publish=public))) == []
        assert "the licence of the rows of sciriff, tulu is not known" in capfd.readouterr().err
        server.refused = "/commit/"
        with pytest.raises(pipeline.RunFailed) as failed:
            pipeline.run(config, "the same command", ProgressSinceStart())
        lines = failed.value.lines
        assert "403" in lines[0] and "write access" in lines[0] and lines[-1] == "  the same command"
        assert server.commits_of_all() == []
        stored, server.refused = list(server.stored), ""
        capfd.readouterr()

        pipeline.run(config, "the same command", ProgressSinceStart())
        said = "".join(capfd.readouterr())
        assert f"published: {server.url}/datasets/ada/reader (private, main)" in said
        assert "predict: up to date" in said and "publish: resumes where it failed" in said, said
        assert server.stored == stored, "what had arrived was not sent again"
        assert len(server.commits("ada/reader")) == len(server.commits("ada/reader", "dataset")) == 1
        files = server.files("ada/reader")
        assert files["model.safetensors"] == (run.model / "model.safetensors").read_bytes()
        assert server.files("ada/reader", "dataset")["train.jsonl"] == run.mix.read_bytes()
        card = ModelCard(files["README.md"].decode())
        assert "mean" in {result.metric_type for result in card.data.eval_results or []}
        assert list(publishing.refused_push(config)) == []
        assert "ada/reader is there (model, private" in capfd.readouterr().err

        received = len(server.received)
        pipeline.run(config, "the same command", ProgressSinceStart())
        assert "publish: up to date" in capfd.readouterr().err and len(server.received) == received
        assert pipeline.is_finished(config)
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
        assert not pipeline.is_finished(config), "another hub may have nothing of it"
        sent = server.all_bytes()
        assert str(tmp_path).encode() not in sent
        held = [path.read_bytes() for path in run.root.rglob("*") if path.is_file()]
        for name, value in SECRETS.items():
            assert not any(value.encode() in content for content in (sent, said.encode(), *held)), name
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert list(publishing.refused_push(config)) == []
    assert "out of reach" in capfd.readouterr().err
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nobody"))
    (problem,) = publishing.refused_push(config)
    assert "HF_TOKEN" in problem
