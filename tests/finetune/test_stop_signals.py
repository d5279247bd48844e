"""Signals to the training's own processes: a checkpoint if one was requested, a quick exit if a rank has failed."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from finetune_runs import Compose, finish, make_run, start

from sciriff.run.run_dir import RunDir

pytestmark = pytest.mark.slow

Training = tuple[RunDir, "subprocess.Popen[str]"]


def ranks(run: RunDir) -> list[int]:
    """Return the training processes, without their launcher."""
    wanted = ["-m", "sciriff.finetune", str(run.root)]
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            except OSError:
                continue
            if words[-3:] == wanted:
                found.append(int(folder.name))
    return found


@pytest.fixture
def training(composed: Compose, tmp_path: Path) -> Iterator[Training]:
    """Two processes in the middle of an endless training."""
    run = make_run(composed, tmp_path / "run", num_processes=2, max_steps=100_000)
    process = start(run)
    give_up_at = time.monotonic() + 120
    while not (run.metrics.exists() and run.metrics.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None and time.monotonic() < give_up_at, finish(process, 1)
        time.sleep(0.1)
    yield run, process
    if process.poll() is None:
        finish(process, 1)


def test_a_process_that_dies_takes_the_others_with_it(training: Training) -> None:
    run, process = training
    os.kill(ranks(run)[1], signal.SIGKILL)
    finish(process, 60)
    assert process.returncode not in (0, None)
    assert not run.stop_request.exists(), "nobody asked for a stop"
    assert not run.checkpoints.exists() and ranks(run) == []


@pytest.mark.parametrize("requested", [True, False])
def test_sigterm_to_all_ends_with_a_checkpoint_if_one_was_asked_for(training: Training, requested: bool) -> None:
    run, process = training
    for number in [*ranks(run), process.pid]:
        os.kill(number, signal.SIGTERM)
    if requested:
        run.stop_request.touch()
    output = finish(process, 60)
    assert ("stopped as asked after step" in output) == run.checkpoints.exists() == requested
    assert ranks(run) == []


def test_sigusr1_to_one_stops_all_with_a_checkpoint(training: Training) -> None:
    run, process = training
    os.kill(ranks(run)[1], signal.SIGUSR1)
    assert "stopped as asked after step" in finish(process, 60)
    assert process.returncode == 0
    assert len(list(run.checkpoints.glob("step-*"))) == 1


def test_a_finished_training_does_not_fail_in_the_interpreters_end(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There gloo's threads were seen to abort a rank, which torchrun takes for a failed training."""
    aborts = "import atexit, os, sys\nif 'sciriff.finetune' in sys.orig_argv[:3]:\n    atexit.register(os.abort)\n"
    (tmp_path / "sitecustomize.py").write_text(aborts)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    run = make_run(composed, tmp_path / "run", max_steps=1)
    process = start(run)
    output = finish(process, 120)
    assert process.returncode == 0, output
    assert run.model.is_dir()
