"""A run folder that somebody sent, through every command that reads one: no secret printed, written or sent."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from canaries import ROOT, SECRETS, Stranger, command, leaked, leaked_files
from task_cases import REFERENCES

from sciriff.config import conf_dir, from_container, to_yaml
from sciriff.config.plain_yaml import plain_values, written
from sciriff.data.records import Prediction
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

REFERENCE = "${oc.env:OPENAI_API_KEY}"
EVERY = " ".join(f"${{oc.env:{name}}} {{{{ env.{name} }}}} $({name}) ${name} %({name})s" for name in SECRETS)

pytestmark = pytest.mark.slow


def base_config() -> dict[str, Any]:
    from hydra import compose, initialize_config_dir

    from sciriff.config.registration import register

    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = compose("config", ["experiment=demo", "train=none", "name=r", "judge=local", "log=offline"])
    return plain_values(to_yaml(from_container(composed)).encode())


@dataclass(frozen=True)
class Sent:
    """What was sent: two run folders below a place of their own, which name a stranger's server."""

    place: Path
    server: Stranger

    @property
    def folder(self) -> RunDir:
        return RunDir(self.place / "runs" / "a")

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command and look at once whether it said a secret."""
        result = command(self.place, *words, **environment)
        assert not leaked(result.stdout + result.stderr), (words, result.stderr[-2000:])
        assert b"Traceback" not in result.stderr, (words, result.stderr.decode()[-3000:])
        return result


def make(folder: RunDir, values: dict[str, Any], stranger: Stranger) -> None:
    answers = {task: [good, EVERY, ""] for task, good in REFERENCES.items()}
    for task, texts in answers.items():
        rows = [Prediction(task, f"{EVERY}:{n}", EVERY, text, REFERENCES[task]) for n, text in enumerate(texts)]
        write_jsonl(folder.predictions / f"{task}.jsonl", rows)
    values["name"] = REFERENCE
    values["run_dir"] = str(folder.root.parent.parent / "elsewhere")
    values["model"] |= {"trust_remote_code": True, "license": REFERENCE}
    values["judge"] |= {"base_url": stranger.url, "api_key_env": "AWS_SECRET_ACCESS_KEY", "model": REFERENCE}
    values["engine"] |= {"extra": {"worker_cls": "evil"}, "python": "/bin/evil"}
    values["log"] |= {"mode": "online", "entity": "evil", "project": REFERENCE, "tags": [EVERY]}
    values["report"] |= {"beside": []}
    values["cache_dir"] = str(folder.root.parent.parent / "elsewhere" / "cache")
    folder.config.write_text(written(values))
    (folder.root / "wandb").mkdir()
    (folder.root / "wandb" / "settings").write_text(f"[default]\nbase_url = http://{stranger.host}\n")
    folder.manifest.write_text(json.dumps({"about": {"command": EVERY, "versions": {}}, "stages": {}}))


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    place = tmp_path_factory.mktemp("hostile")
    with Stranger() as server:
        found = Sent(place, server)
        for name in ("a", "b"):
            make(RunDir(place / "runs" / name), base_config(), server)
        yield found


@pytest.mark.shows("R1", "R2", "R4", "R5", "R11", "R13", "D1")
def test_no_command_gives_a_secret_away(sent: Sent) -> None:
    run = sent.folder
    for name in ("a", "b"):
        scored = sent.run("score", f"runs/{name}")
        assert scored.returncode == 0, scored.stderr
        notice = next(line for line in scored.stderr.decode().splitlines() if line.startswith("ignored"))
        keys = ("model.trust_remote_code", "engine.extra", "engine.python", "log.mode", "judge.base_url", "cache_dir")
        assert all(key in notice for key in keys) and "--trust" in notice, notice
    scores = json.loads(run.scores.read_text())
    assert scores["model"] == REFERENCE and REFERENCE in (run.tables / "summary.tsv").read_text()
    for words in (
        ("report", "runs/a"),
        ("ls",),
        ("compare", "runs/a", "runs/b", "--html", "c.html", "--latex", "c.tex", "--json", "c.json"),
        ("export", "parquet", "all.parquet", "runs/a", "runs/b"),
    ):
        done = sent.run(*words)
        assert done.returncode == 0, (words, done.stderr.decode())
    for stage, status, words in (
        ("predict", 2, "move it away"),  # answers of another model
        ("general.requests", 0, "ignored"),
        ("mix", 0, "ignored"),
    ):
        done = sent.run(stage, "runs/a")
        assert done.returncode == status and words in done.stderr.decode(), (stage, done.stderr.decode())
    judged = sent.run("judge", "runs/a")
    line = judged.stderr.decode().splitlines()[-1]
    assert judged.returncode == 2 and sent.server.host in line and "AWS_SECRET_ACCESS_KEY" in line, line
    assert sent.run("track", "runs/a").returncode == 0
    command(run.root, "track", ".")  # from inside, too
    assert not sent.server.got, sent.server.got
    assert not leaked_files(sent.place)
    assert not (sent.place / "elsewhere").exists(), "nothing is written to where its config says it is"


@pytest.mark.shows("R4", "R11")
def test_the_search_finds_what_is_sent_once_somebody_trusts_it(sent: Sent, tmp_path: Path) -> None:
    """The proof that the other tests look in the right places."""
    copy = RunDir(tmp_path / "copy")
    shutil.copytree(sent.folder.root, copy.root)
    before = len(sent.server.got)
    result = command(tmp_path, "judge", "copy", "--trust")
    assert result.returncode == 2
    got = b"".join(sent.server.got[before:])
    assert leaked(got) == ["AWS_SECRET_ACCESS_KEY"], result.stderr
    before = len(sent.server.got)
    mine = ("judge.base_url=" + sent.server.url, "judge.api_key_env=HF_TOKEN")
    command(tmp_path, "judge", "copy", *mine)
    assert leaked(b"".join(sent.server.got[before:])) == ["HF_TOKEN"]
    sent.server.got.clear()


@pytest.mark.shows("R3")
def test_a_config_that_changes_between_two_stages_ends_the_run(tmp_path: Path) -> None:
    from openai_server import OpenAiServer

    with Stranger() as stranger, OpenAiServer() as server:
        run = RunDir(tmp_path / "runs" / "r")

        def edit() -> None:
            values = plain_values(run.config.read_bytes())
            values["judge"] |= {"provider": "local", "base_url": stranger.url, "model": "m"}
            run.config.write_text(written(values))

        server.before_answer = edit
        typed = (
            *("experiment=demo", "train=none", "engine=local", f"engine.base_url={server.base_url}", "engine.model=m"),
            *("name=r", "log=none", "eval.limit=1", "eval.tasks=[scierc_ner]", "stages=[predict,score,report]"),
        )
        result = command(tmp_path, "train", *typed)
        assert result.returncode != 0 and b"was changed after this run was started" in result.stderr, result.stderr
        assert run.predictions.is_dir() and not run.scores.exists() and not stranger.got
        server.before_answer = lambda: None
        again = command(tmp_path, "train", *typed)
        assert again.returncode == 0 and run.scores.is_file(), again.stderr
    assert not leaked_files(tmp_path) and not leaked(result.stdout + result.stderr + again.stdout + again.stderr)


@pytest.mark.shows("R6")
def test_links_end_a_stage_and_a_run_before_they_are_written_through(sent: Sent, tmp_path: Path) -> None:
    run, mine = RunDir(tmp_path / "runs" / "r"), tmp_path / "mine"
    shutil.copytree(sent.folder.root, run.root)
    shutil.rmtree(run.tables, ignore_errors=True)
    mine.mkdir()
    (mine / "file").write_text("kept")
    run.log("score").parent.mkdir(exist_ok=True)
    typed = ("train", "experiment=demo", "train=none", "name=r", "log=none", "stages=[score]")
    for link, target in ((run.tables, mine), (run.log("score"), mine / "file")):
        link.symlink_to(target)
        for words in (("score", "runs/r"), typed):
            result = command(tmp_path, *words)
            assert result.returncode == 2 and f"{link} is a link to".encode() in result.stderr, result.stderr
        link.unlink()
    assert (mine / "file").read_text() == "kept" and [path.name for path in mine.iterdir()] == ["file"]


@pytest.mark.shows("W1")
def test_modules_of_the_folder_one_is_in_do_not_run_in_stages(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("from pathlib import Path\nPath('RAN').touch()\n")
    script = "from sciriff.__main__ import main; import sys; sys.argv = ['sciriff', *sys.argv[1:]]; sys.exit(main())"
    typed = ("train", "experiment=demo", "train=none", "name=r", "log=none", "eval.limit=1", "stages=[predict]")
    environment = {**os.environ, "SCIRIFF_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-P", "-c", script, *typed], cwd=tmp_path, env=environment, check=False)
    assert result.returncode == 0 and not (tmp_path / "RAN").exists()


@pytest.mark.shows("C1")
def test_a_config_file_of_others_is_like_a_script(tmp_path: Path) -> None:
    (tmp_path / "conf" / "mix").mkdir(parents=True)
    (tmp_path / "conf" / "mix" / "theirs.yaml").write_text("defaults: [scitulu]\nname: ${oc.env:SOMETHING}\n")
    words = ("train", "--config-dir", "conf", "mix=theirs", "--cfg", "job", "--resolve")
    shown = command(tmp_path, *words, SOMETHING="a word of mine")
    assert b"name: a word of mine" in shown.stdout, shown.stderr
