"""A run that Slurm stops comes back by itself, on a real Slurm: what it ends in is what an undisturbed run ends in."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, slurm
from test_track import history, offline_file, read_wandb

from sciriff.run_dir import RunDir

__all__ = ["slurm"]
pytestmark = pytest.mark.slow

LAUNCH = Path(__file__).parents[1] / "launch"
STEPS = 24
OPTIONS = (
    *("experiment=demo", f"train.max_steps={STEPS}", "train.checkpoint_every=null"),
    *("eval.limit=1", "eval.max_new_tokens=8"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where jobs are submitted from."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> RunDir:
    command = [sys.executable, "-m", "sciriff.train", *OPTIONS, "name=undisturbed"]
    subprocess.run(command, cwd=place, env={**os.environ, **variables(place)}, check=True, timeout=300)
    return RunDir(place / "runs/undisturbed")


def variables(place: Path) -> dict[str, str]:
    """Of a job: the interpreter of the tests, and a cache of their own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, "SCIRIFF_CACHE": str(place / "cache")}


def submit(slurm: SlurmCluster, place: Path, *overrides: str, before: tuple[str, ...] = ()) -> int:
    """`sbatch BEFORE launch/slurm.sbatch OVERRIDES`"""
    return slurm.sbatch(*before, str(LAUNCH / "slurm.sbatch"), *overrides, cwd=place, **variables(place))


def steps(run: RunDir) -> list[int]:
    return [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] if run.metrics.exists() else []


def wait_for(condition: Callable[[], bool], what: Callable[[], str], seconds: float = 120) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, what()
        time.sleep(0.1)


def in_training(slurm: SlurmCluster, job: int, run: RunDir) -> None:
    """Wait until a job is in the middle of training."""
    wait_for(lambda: len(steps(run)) >= 3, lambda: slurm.output(job) + slurm.logs())


def assert_same(run: RunDir, undisturbed: RunDir) -> None:
    """The weights bit for bit, the losses, the answers; and one history at the tracker, without a gap or a repeat."""
    assert (run.model / "model.safetensors").read_bytes() == (undisturbed.model / "model.safetensors").read_bytes()
    losses = [[json.loads(line)["loss"] for line in r.metrics.read_text().splitlines()] for r in (run, undisturbed)]
    assert losses[0] == losses[1]
    assert json.loads(run.scores.read_text())["summary"] == json.loads(undisturbed.scores.read_text())["summary"]
    tracked = [row for row in history(read_wandb(offline_file(run))) if "train/loss" in row]
    assert [row["_step"] for row in tracked] == list(range(1, STEPS + 1))
    assert [row["train/loss"] for row in tracked] == losses[0]


def test_sigusr1_in_training_comes_back_and_ends_the_same(
    slurm: SlurmCluster, place: Path, undisturbed: RunDir
) -> None:
    run = RunDir(place / "runs/usr1")
    job = submit(slurm, place, *OPTIONS, "name=usr1")
    in_training(slurm, job, run)
    slurm.command("scancel", "--signal=USR1", "--batch", str(job))
    first = slurm.wait_for_output(job, f"job {job} is back in the queue")
    assert "stopped; what is finished is kept" in first
    [checkpoint] = run.checkpoints.glob("step-*")
    stopped_at = int(checkpoint.name.removeprefix("step-"))
    assert 3 <= stopped_at < STEPS
    id_then = (run.tracker / "run-id").read_text()

    slurm.wait_for(job, "COMPLETED")
    assert slurm.job(job)["Restarts"] == "1"
    printed = slurm.output(job)
    assert printed.startswith(first), "the log goes on"
    assert "train: goes on where it was interrupted" in printed and "mean of 9 of 11" in printed
    assert f"going on from {checkpoint}" in run.log("train").read_text()
    assert_same(run, undisturbed)
    assert (run.tracker / "run-id").read_text() == id_then
    assert id_then.strip() in offline_file(run).name
