"""A run folder of an earlier version is up to date under this one, and an interrupted one resumes.

The files in earlier_run/ were made by commit 7c11015: `digests.json` by its stage inputs, `finished.tar.xz` and
`interrupted.tar.xz` by one run of the demo over a model of two features, stopped in training and then resumed. Paths in
its config are relative to the folder that the run was made in, and times of files are whole seconds, so that it can be
unpacked anywhere.
"""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from sciriff import config as configuration
from sciriff.config import SAMPLE
from sciriff.driver import pipeline, stage_inputs
from sciriff.driver.requeue import ProgressSinceStart
from sciriff.driver.stages import STAGES
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir

MADE = Path(__file__).with_name("earlier_run")
CASES = json.loads((MADE / "digests.json").read_text())


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`earlier("finished")` unpacks that run; its config's relative paths hold in the current folder from now on."""
    monkeypatch.chdir(tmp_path)
    Path("sample").symlink_to(SAMPLE)

    def unpacked(name: str) -> RunDir:
        with tarfile.open(MADE / f"{name}.tar.xz") as archive:
            archive.extractall(".", filter="data")
        return RunDir(Path("run"))

    return unpacked


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case["overrides"][:2]))
def test_inputs_of_every_stage_are_the_same(case, composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage_inputs, "__version__", case["version"])
    run, config = RunDir(Path("runs/a")), composed(*case["overrides"], "name=a")
    for path in (run.mix, run.validation, run.predictions / "x.jsonl", run.judgements / "y.jsonl", run.scores):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    assert list(case["inputs"]) == config.active_stages
    for stage, given in case["inputs"].items():
        assert STAGES[stage].inputs(config, run) == given, stage


def test_a_finished_run_is_up_to_date(earlier, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    run = earlier("finished")
    monkeypatch.setattr(stage_inputs, "__version__", CASES[0]["version"])
    config, before = configuration.load(run.config), run.manifest.read_bytes()
    assert config.active_stages == ["mix", "train", "predict", "score", "report"]
    assert pipeline.is_finished(config)
    pipeline.run(config, "again", ProgressSinceStart())
    said = capfd.readouterr().err
    assert all(f"{stage}: up to date" in said for stage in config.active_stages), said
    assert run.manifest.read_bytes() == before


@pytest.mark.slow
def test_an_interrupted_run_resumes(earlier, capfd: pytest.CaptureFixture[str]):
    """From its checkpoint, with the losses that the version before had."""
    run = earlier("finished")
    wanted = [json.loads(line)["loss"] for line in run.metrics.read_text().splitlines()]
    shutil.rmtree(run.root)
    run = earlier("interrupted")
    (checkpoint,) = run.checkpoints.iterdir()
    done = run.metrics.read_text().splitlines()
    assert Manifest.read(run.manifest).stages["train"].status == "running"
    assert not run.model.exists() and 0 < int(checkpoint.name.removeprefix("step-")) < len(wanted)
    pipeline.run(configuration.load(run.config), "again", ProgressSinceStart())
    said = capfd.readouterr().err
    assert "mix: up to date" in said and "train: resumes where it was interrupted" in said
    lines = run.metrics.read_text().splitlines()
    step = int(checkpoint.name.removeprefix("step-"))
    assert lines[:step] == done[:step], "the steps before the checkpoint were not done again"
    assert [json.loads(line)["loss"] for line in lines] == pytest.approx(wanted, rel=1e-4)
    assert Manifest.read(run.manifest).is_over and run.report.is_file()
