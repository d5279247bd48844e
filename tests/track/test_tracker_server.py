"""The tracker's process with a server that answers, is down, hangs, or goes away."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from told_by_driver import told
from wandb_file import offline_file
from wandb_server import KEY, StoredRun, WandbServer, wandb_server

from sciriff.config import Config, to_yaml
from sciriff.run.run_dir import RunDir

Environment = dict[str, str]


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with wandb_server() as running:
        yield running


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """The environment of a user who is logged in, with short timeouts."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return {**kept, "HOME": str(home), "WANDB_API_KEY": KEY, "WANDB_INIT_TIMEOUT": "4", "WANDB_FINISH_TIMEOUT": "4"}


@pytest.fixture
def run(composed: Callable[..., Config], tmp_path: Path) -> RunDir:
    made = RunDir(tmp_path / "run")
    made.root.mkdir()
    made.config.write_text(to_yaml(composed("experiment=demo", "name=a run", f"run_dir={made.root}", "log=wandb")))
    return made


def steps(*numbers: int) -> str:
    return "".join(json.dumps({"step": step, "steps": 9, "loss": 1 / step, "tokens": 100}) + "\n" for step in numbers)


def track(
    run: RunDir, environment: Environment, url: str, *flags: str, retry_every: float = 60
) -> "subprocess.Popen[str]":
    """The real process; `retry_every` is in seconds."""
    code = f"from sciriff.track import __main__ as t; t.RETRY_EVERY = {retry_every}; raise SystemExit(t.main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(run.root), *flags],
        env={**environment, **told(run), "WANDB_BASE_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at, f"no {what} after 60 s"
        time.sleep(0.1)


def wait_until_connected(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("wandb: http")
    time.sleep(0.5)  # for it to stat the existing files before they change


def only(server: WandbServer) -> StoredRun:
    (stored,) = server.runs.values()
    return stored


@pytest.mark.slow
def test_online_a_killed_run_resumes_at_the_servers_last_step(
    run: RunDir, environment: Environment, server: WandbServer
) -> None:
    first = track(run, environment, server.url, "--follow")
    wait_until_connected(first)
    run.metrics.write_text(steps(1, 2, 3, 4, 5))
    wait_until(lambda: bool(server.runs) and only(server).steps == [1, 2, 3, 4], "step 4")
    first.kill()
    first.communicate()
    second = track(run, environment, server.url, "--follow")
    wait_until_connected(second)
    run.metrics.write_text(steps(1, 2))  # training resumes from a checkpoint
    time.sleep(1.5)
    run.metrics.write_text(steps(1, 2, 3, 4, 5, 6, 7))
    run.tables.mkdir()
    (run.tables / "biored_ner.tsv").write_text("model\tf1\nm\t0.5000\n")
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out, err) == (0, "", "")
    stored = only(server)
    assert stored.steps == [1, 2, 3, 4, 5, 6, 7]
    assert [row["train/tokens_so_far"] for row in stored.history] == [100, 200, 300, 400, 500, 600, 700]
    assert (stored.exit_code, stored.display_name, stored.tags) == (0, "a run", ["tiny", "sample", "full"])
    assert stored.summary["tables/biored_ner"]["nrows"] == 1
    _, err = track(run, environment, server.url).communicate(timeout=60)
    assert (err, stored.steps) == ("", [1, 2, 3, 4, 5, 6, 7]), "a second copy changes nothing"


@pytest.mark.slow
def test_wandb_sync_of_the_stopped_and_of_the_finished_run_makes_one_run(
    run: RunDir, environment: Environment, server: WandbServer
) -> None:
    run.config.write_text(run.config.read_text().replace("mode: online", "mode: offline"))
    for made in ((1, 2, 3), (1, 2, 3, 4, 5)):
        run.metrics.write_text(steps(*made))
        run.report.write_text("<p>report</p>")
        _, err = track(run, environment, server.url).communicate(timeout=60)
        assert err == ""
        command = [Path(sys.executable).with_name("wandb"), "sync", str(offline_file(run).parent)]
        sent = subprocess.run(
            command,
            cwd=run.root,
            env={**environment, "WANDB_BASE_URL": server.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert sent.returncode == 0, sent.stderr
        stored = only(server)
        assert (stored.steps, stored.exit_code) == (list(made), 0)
        assert stored.files["report.html"] == b"<p>report</p>"
        assert json.loads(stored.config)["train"]["value"]["learning_rate"] == 2e-3


@pytest.mark.slow
def test_a_server_that_is_down_at_first_gets_the_whole_run(run: RunDir, environment: Environment) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    process = track(run, environment, f"http://127.0.0.1:{port}", "--follow", retry_every=0.5)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("error: Weights & Biases: ")
    with wandb_server(port) as server:
        wait_until_connected(process)
        run.metrics.write_text(steps(1, 2, 3))
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), "the error is printed once"
        assert only(server).steps == [1, 2, 3]


@pytest.fixture
def scoring(tmp_path: Path) -> list[str]:
    """Options of a whole run of the driver that takes seconds: it scores one answer."""
    answers = tmp_path / "answers"
    answers.mkdir()
    row = {"task": "biored_ner", "instance_id": "a", "prompt": "p", "prediction": "{}", "reference": '{"Gene": ["x"]}'}
    (answers / "biored_ner.jsonl").write_text(json.dumps(row) + "\n")
    return ["train=none", "stages=[score]", f"predictions={answers}", "name=scored", "log=wandb"]


def drive(scoring: list[str], environment: Environment, url: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sciriff.train", *scoring],
        cwd=cwd,
        env={**environment, "WANDB_BASE_URL": url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("listens", [False, True], ids=["refuses", "hangs"])
def test_a_server_that_is_down_is_reported_and_does_not_stop_the_run(
    listens: bool, scoring: list[str], environment: Environment, tmp_path: Path
) -> None:
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        if listens:
            deaf.listen(64)
        result = drive(scoring, environment, f"http://127.0.0.1:{deaf.getsockname()[1]}", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "mean of 1 of 11" in result.stdout
    assert "track: Weights & Biases: " in result.stderr and "Traceback" not in result.stderr
    again = f"-m sciriff.track {tmp_path / 'runs/scored'}"
    assert "track: the tracker failed, the run did not" in result.stderr and again in result.stderr
    assert KEY not in result.stderr + (tmp_path / "runs/scored/logs/track.log").read_text()


@pytest.mark.slow
def test_a_server_that_goes_away_is_reported(run: RunDir, environment: Environment) -> None:
    with wandb_server() as server:
        process = track(run, environment, server.url, "--follow")
        wait_until_connected(process)
    run.metrics.write_text(steps(1, 2, 3))
    _, err = process.communicate(timeout=60)
    assert (process.returncode, len(err.splitlines())) == (2, 1), err
    assert err.startswith("error: Weights & Biases: ") and "in time" in err
    assert [path for path in run.tracker.glob("run-*/*.wandb") if str(path.parent) in err]


def test_online_without_a_key_is_refused_before_anything_starts(
    scoring: list[str], environment: Environment, tmp_path: Path
) -> None:
    del environment["WANDB_API_KEY"]
    result = drive(scoring, environment, "http://127.0.0.1:1", tmp_path)
    assert result.returncode == 2
    (problem,) = (line for line in result.stderr.splitlines() if line.startswith("  - "))
    assert problem.startswith("  - log=wandb: ") and "wandb login" in problem and "log=offline" in problem
    assert not (tmp_path / "runs").exists()
