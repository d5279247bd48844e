"""The tracker's process: what it copies, how often, and the secrets that it must never write."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from told_by_driver import told
from wandb_file import offline_file, read_wandb, steps_written

from sciriff.config import Config, to_yaml
from sciriff.results.scores import parsed_summary
from sciriff.run.run_dir import RunDir
from sciriff.track.copying import copy_run, summary_values
from sciriff.track.logged_tables import TrackedTable
from sciriff.track.tail import Tail

SECRETS = {
    "WANDB_API_KEY": "5ec2e7" + "0" * 34,
    "HF_TOKEN": "hf_a5ecretofthehub",
    "OPENAI_API_KEY": "sk-a5ecretofthejudge",
    "SLURM_JWT": "a5ecretofthecluster",
}

SCORES = {
    "model": "m",
    "tasks": {},
    "summary": {
        "columns": {"biored_ner/f1": {"value": 0.5, "ci95": [0.4, 0.6]}, "scierc_ner/f1": {"value": 0.25}},
        "mean": 0.375,
        "median": 0.375,
        "missing": ["discomat_te/bleu"],
    },
    "general": {
        "name": "quick",
        "tasks": {
            "mmlu": {
                "n": 4,
                "of": 9,
                "metric": "acc",
                "value": 0.75,
                "ci95": [0.5, 1.0],
                "shots": 5,
                "shortened_prompts": 0,
                "skipped_prompts": 0,
                "cut_answers": 0,
            }
        },
        "mean": {"value": 0.75, "ci95": [0.5, 1.0]},
    },
}


MakeRun = Callable[..., RunDir]


@pytest.fixture
def make_run(composed: Callable[..., Config], tmp_path: Path) -> MakeRun:
    """`make_run("log=none")` makes a run folder that has only its config."""

    def make(*overrides: str) -> RunDir:
        run = RunDir(tmp_path / "run")
        run.root.mkdir()
        run.config.write_text(to_yaml(composed("experiment=demo", "name=a run", f"run_dir={run.root}", *overrides)))
        return run

    return make


def row(step: int, loss: float | None = None) -> str:
    return (
        json.dumps({"step": step, "steps": 6, "loss": loss or 1 / step, "lr": 3e-4, "mfu": None, "tokens": 100}) + "\n"
    )


def start(run: RunDir, *flags: str, home: Path) -> "subprocess.Popen[str]":
    """The real process, with secrets in its environment and a broken .netrc in its home folder."""
    home.mkdir(exist_ok=True)
    (home / ".netrc").write_text("machine api.wandb.ai login\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "SLURM"))}
    return subprocess.Popen(
        [sys.executable, "-m", "sciriff.track", str(run.root), *flags],
        env={**environment, **SECRETS, **told(run), "HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_growing_run_is_copied_to_wandb(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("log=offline", "log.project=p", "log.group=g", "log.tags=[t]")
    process = start(run, "--follow", home=tmp_path / "home")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("wandb: ")
    time.sleep(0.5)
    run.metrics.write_text("".join(map(row, (1, 2, 3, 4))) + row(5)[:20])
    time.sleep(2)
    # Training resumed from the checkpoint at step 2.
    run.metrics.write_text("".join(map(row, range(1, 7))))
    run.scores.write_text(json.dumps(SCORES))
    run.mix_card.parent.mkdir()
    run.mix_card.write_text('{"rows": 7}')
    run.report.write_text("<p>report</p>")
    run.tables.mkdir()
    (run.tables / "summary.tsv").write_text("task\tbiored\tmean\nmetric\tf1\tof 2 of 11\nm\t50.00\t37.50\n")
    (run.tables / "biored_ner.tsv").write_text("model\tf1\nm\t0.5000\n")
    run.predictions.mkdir()
    fields = {"task": "biored_ner", "instance_id": "a:b:1", "prompt": "p" * 9000, "reference": "{}"}
    prediction = json.dumps({**fields, "prediction": "</script>\ud800"})
    (run.predictions / "biored_ner.jsonl").write_text(f"{prediction}\n" * 7)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert (out, err) == ("", "")

    tracked = read_wandb(offline_file(run))
    rows = tracked.history
    assert tracked.steps == [1, 2, 3, 4, 5, 6]
    assert rows[3]["train/loss"] == 0.25 and rows[3]["train/tokens"] == 100
    assert [row["train/tokens_so_far"] for row in rows] == [100, 200, 300, 400, 500, 600]
    assert "train/mfu" not in rows[3] and "train/steps" not in rows[3]
    assert (tracked.name, tracked.project, tracked.group, tracked.tags) == ("a run", "p", "g", ["t"])
    assert tracked.config["train"]["learning_rate"] == 2e-3
    summary = tracked.summary
    assert summary["biored_ner/f1"] == 0.5
    assert (summary["mean"], summary["columns_scored"], summary["columns_missing"]) == (0.375, 2, "discomat_te/bleu")
    assert (summary["biored_ner/f1_ci95_low"], summary["biored_ner/f1_ci95_high"]) == (0.4, 0.6)
    assert (summary["general/mmlu"], summary["general/mmlu_ci95_low"], summary["general/mmlu_ci95_high"]) == (
        0.75,
        0.5,
        1,
    )
    assert (summary["general/mean"], summary["general/mean_ci95_high"]) == (0.75, 1)
    assert tracked.system and "memory_percent" in tracked.system[0]

    files = offline_file(run).parent / "files"
    tables = {path.name.split("_")[0]: json.loads(path.read_text()) for path in files.rglob("*.table.json")}
    assert set(tables) == {"summary", "biored", "predictions"}
    assert tables["summary"] == {
        **tables["summary"],
        "columns": ["task metric", "biored f1", "mean of 2 of 11"],
        "data": [["m", "50.00", "37.50"]],
    }
    predictions = tables["predictions"]["data"]
    assert len(predictions) == 5 and predictions[0][3] == "</script>?"
    assert predictions[0][2].endswith("[5,000 more characters]")
    assert (files / "mix" / "card.json").read_text() == '{"rows": 7}'
    assert (files / "report.html").is_file()

    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) > 5
    for path in written:
        data = path.read_bytes()
        assert not [name for name, secret in SECRETS.items() if secret.encode() in data], path
    assert [p.name for p in (tmp_path / "home").rglob("*")] == [".netrc"], "all files are below the run folder"


@pytest.mark.slow
def test_a_finished_run_is_copied_again_under_the_same_id(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("log=offline")
    run.metrics.write_text(row(1))
    names = []
    for steps in (1, 2):
        run.metrics.write_text("".join(map(row, range(1, steps + 1))))
        process = start(run, home=tmp_path / "home")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        tracked = read_wandb(offline_file(run))
        assert tracked.steps == list(range(1, steps + 1))
        assert tracked.system == [], "a later copy must not record its own machine"
        names.append(tracked.run_id)
    assert names[0] == names[1]


@pytest.mark.slow
def test_a_run_killed_repeatedly_stays_one_run_without_gaps_or_duplicates(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("log=offline")
    home = tmp_path / "home"
    first = start(run, "--follow", home=home)
    assert first.stdout is not None and first.stdout.readline().startswith("wandb: ")
    time.sleep(0.5)
    run.metrics.write_text("".join(map(row, range(1, 6))))
    sent = wait_for_steps(run, 4)
    first.kill()
    first.communicate()
    second = start(run, "--follow", home=home)  # killed while training still loads its checkpoint
    assert second.stdout is not None and second.stdout.readline().startswith("wandb: ")
    second.kill()
    second.communicate()
    assert sent in [read_wandb(path).steps for path in run.tracker.rglob("*.wandb") if path.stat().st_size > 7]
    third = start(run, "--follow", home=home)
    assert third.stdout is not None and third.stdout.readline().startswith("wandb: ")
    time.sleep(0.5)
    run.metrics.write_text("".join(map(row, range(1, 4))) + "".join(row(step, loss=9) for step in (4, 5, 6)))
    _, err = third.communicate(timeout=60)
    assert third.returncode == 0, err
    tracked = read_wandb(offline_file(run))
    assert tracked.steps == [1, 2, 3, 4, 5, 6]
    assert [line["train/loss"] for line in tracked.history][3:] == [9, 9, 9]
    assert tracked.run_id == (run.tracker / "run-id").read_text().strip()


def wait_for_steps(run: RunDir, count: int) -> list[int]:
    """Steps in the offline file, once there are at least `count`."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        if len(steps := steps_written(run)) >= count:
            return steps
        time.sleep(0.1)
    raise AssertionError(f"fewer than {count} steps after 60 s")


@pytest.mark.slow
def test_a_second_tracker_of_the_same_run_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("log=offline")
    first = start(run, "--follow", home=tmp_path / "home")
    assert first.stdout is not None and first.stdout.readline().startswith("wandb: ")
    _, err = start(run, home=tmp_path / "home").communicate(timeout=60)
    assert err == f"error: {run.tracker}: another process copies this run to Weights & Biases; wait until it ends\n"
    _, err = first.communicate(timeout=60)
    assert (first.returncode, err) == (0, "")
    assert offline_file(run)


def test_tensorboard_has_each_step_once_after_two_copies(make_run: MakeRun, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = make_run("log=tensorboard")
    run.metrics.write_text(row(1) + row(2))
    run.scores.write_text(json.dumps(SCORES))
    for _ in range(2):
        process = start(run, home=tmp_path / "home")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    events = EventAccumulator(str(run.root / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("biored_ner/f1")] == [(2, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("general/mean")] == [(2, 0.75)]
    assert "learning_rate: 0.002" in events.Tensors("config")[0].tensor_proto.string_val[0].decode()


def test_no_tracker_writes_nothing(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("log=none")
    process = start(run, home=tmp_path / "home")
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert [p.name for p in run.root.iterdir()] == ["config.yaml"]


def test_a_broken_file_ends_the_tracker_in_one_line(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("log=offline")
    run.metrics.write_text(row(1) + '{"step": 2, "lo\n')
    process = start(run, home=tmp_path / "home")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith(f"error: {run.metrics}:2: ") and "JSON" in err and len(err.splitlines()) == 1


def steps(tail: Tail) -> list[int]:
    return [row["step"] for _, row in tail.rows()]


def test_tail_waits_for_whole_lines_and_notices_truncation(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert steps(tail) == []
    path.write_text(row(1) + row(2)[:-1])
    assert steps(tail) == [1]
    path.write_text(row(1) + row(2) + row(3))
    assert steps(tail) == [2, 3]
    path.write_text(row(1))
    assert steps(tail) == [1]
    # Truncated and grown past its old length between two calls, with other lines in place of the old ones.
    path.write_text("".join(row(step) for step in (11, 12, 13)))
    assert steps(tail) == [11, 12, 13]
    assert steps(tail) == []


class Recorder:
    """A sink that records its calls."""

    def __init__(self, logged: int = -1) -> None:
        self.logged = logged
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.scored: list[dict[str, Any]] = []
        self.files: list[str] = []

    def step(self, step: int, values: dict[str, float]) -> None:
        self.steps.append(step)
        self.losses.append(values["train/loss"])

    def scores(self, values: dict[str, Any]) -> None:
        self.scored.append(values)

    def file(self, path: Path) -> None:
        self.files.append(path.name)

    def table(self, table: TrackedTable) -> None:
        self.files.append(table.name)


def test_a_sink_that_has_steps_gets_only_later_ones(make_run: MakeRun) -> None:
    run = make_run("log=offline")
    run.metrics.write_text("".join(map(row, (1, 2, 3))))
    run.manifest.write_text("{}")
    sink = Recorder(logged=2)
    copy_run(run, sink, follow=False)
    assert (sink.steps, sink.scored, sink.files) == ([3], [], ["manifest.json"])


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[str]]:
    """The writing end of a pipe that replaces standard input; closing it ends the run."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w") as writer:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield writer


def test_files_of_an_earlier_attempt_are_not_copied_until_they_change(
    make_run: MakeRun, standard_input: IO[str]
) -> None:
    run = make_run("log=offline")
    run.metrics.write_text(row(1, loss=9) + row(2, loss=9))
    run.scores.write_text(json.dumps(SCORES))
    sink = Recorder()
    thread = threading.Thread(target=copy_run, args=(run, sink, True))
    thread.start()
    time.sleep(1.5)
    assert not sink.steps and not sink.scored
    run.metrics.unlink()
    run.metrics.write_text(row(1, loss=1) + row(2, loss=1))
    time.sleep(1.5)
    assert (sink.steps, sink.losses) == ([1], [1]), "the last step waits for its validation"
    standard_input.close()
    thread.join(timeout=30)
    assert (sink.steps, len(sink.scored)) == ([1, 2], 1), "unreplaced scores belong to this run"


def validation(step: int, science: float) -> str:
    values = {"validation_science_loss": science, "validation_general_loss": None, "validation_seconds": 0.5}
    return json.dumps({"step": step, "steps": 6, **values}) + "\n"


def test_a_step_and_its_validation_are_sent_as_one(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("log=offline")
    run.metrics.write_text(validation(0, 3.0) + row(1) + row(2) + validation(2, 2.5))
    process = start(run, home=tmp_path / "home")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    tracked = read_wandb(offline_file(run))
    rows = tracked.history
    assert tracked.steps == [0, 1, 2]
    assert [r.get("validation/science_loss") for r in rows] == [3.0, None, 2.5]
    assert [r.get("train/loss") for r in rows] == [None, 1.0, 0.5]
    assert not any("general" in key for r in rows for key in r)


@pytest.mark.parametrize("text", ["{", "[]", '{"summary": {}}', '{"summary": {"columns": {"a/b": 3}}}'])
def test_malformed_scores_are_refused_with_the_file_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"scores\.json: not the scores"):
        summary_values(parsed_summary(text.encode(), Path("scores.json")))
