"""A run that Slurm stops comes back by itself, on a real Slurm: what it ends in is what an undisturbed run ends in."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_cluster import NODES, SlurmCluster
from wandb_file import assert_is_a_copy_of, offline_file, read_wandb

from sciriff.driver.requeue import ProgressSinceStart, after_stop
from sciriff.run.run_dir import RunDir

pytestmark = pytest.mark.slow

LAUNCH = Path(__file__).parents[2] / "launch"
STEPS = 24
TRAINING = ("experiment=demo", f"train.max_steps={STEPS}", "train.checkpoint_every=null")
OPTIONS = (*TRAINING, "eval.limit=6", "eval.max_new_tokens=8", "engine.batch_tokens=1024")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """One whose jobs of partition `main` make room for those of `urgent`."""
    folder = tmp_path_factory.mktemp("slurm")
    settings = {"PreemptType": "preempt/partition_prio", "PreemptMode": "REQUEUE", "SlurmdTimeout": 15}
    with SlurmCluster(folder, **settings) as cluster:
        cluster.command(
            *("scontrol", "create", "PartitionName=urgent", f"Nodes={','.join(NODES)}", "PriorityTier=10"),
            "PreemptMode=OFF",
        )
        yield cluster


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where jobs are submitted from."""
    return tmp_path_factory.mktemp("place")


DRIVER = """
import signal, sys, time
from pathlib import Path
from sciriff.run import spawn
from sciriff.driver.requeue import ProgressSinceStart, after_stop
from sciriff.run.run_dir import RunDir

progress = ProgressSinceStart()
progress.begins(RunDir(Path("no-run")))
for number in spawn.ASKS_TO_STOP:
    signal.signal(number, spawn.stop_between_children)
try:
    print("started", flush=True)
    time.sleep(1000)
except spawn.Stopped as stop:
    for number in spawn.ASKS_TO_STOP:
        signal.signal(number, signal.SIG_IGN)
    print(after_stop(stop.signals, progress), flush=True)
"""
"""What train.main does when it is stopped, without a run."""


def submit_driver(slurm: SlurmCluster, place: Path, *options: str) -> int:
    script = place / "driver.sbatch"
    script.write_text(f"#!/bin/sh\nexec python - <<'END'\n{DRIVER}END\n")
    return slurm.sbatch("--open-mode=append", *options, str(script), cwd=place, **variables(place))


@pytest.fixture(scope="module", autouse=True)
def out_of_time(slurm: SlurmCluster, place: Path) -> int:
    """A job whose minute, the least there is, passes while other tests run."""
    return submit_driver(slurm, place, "--time=1", "--nodelist=n2", "--requeue")


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> RunDir:
    command = [sys.executable, "-m", "sciriff.train", *OPTIONS, "name=undisturbed"]
    subprocess.run(command, cwd=place, env={**os.environ, **variables(place)}, check=True, timeout=300)
    return RunDir(place / "runs/undisturbed")


def variables(place: Path) -> dict[str, str]:
    """Of a job: the interpreter of the tests, and a cache of their own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, "PYTHONPATH": str(LAUNCH.parent), "SCIRIFF_CACHE": str(place / "cache")}


def submit(slurm: SlurmCluster, place: Path, *overrides: str, file: str = "slurm.sbatch") -> int:
    """`sbatch launch/FILE OVERRIDES`"""
    return slurm.sbatch(str(LAUNCH / file), *overrides, cwd=place, **variables(place))


def steps(run: RunDir) -> list[int]:
    return [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] if run.metrics.exists() else []


def answers(run: RunDir) -> int:
    return sum(path.read_bytes().count(b"\n") for path in run.predictions.glob("*.jsonl"))


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
    assert_is_a_copy_of(run)


def test_sigusr1_in_training_and_again_in_prediction(slurm: SlurmCluster, place: Path, undisturbed: RunDir) -> None:
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

    wait_for(lambda: answers(run) >= 1, lambda: slurm.output(job) + slurm.logs())
    answered = answers(run)
    slurm.command("scancel", "--signal=USR1", "--batch", str(job))
    wait_for(lambda: slurm.output(job).count("is back in the queue") == 2, lambda: slurm.output(job) + slurm.logs())
    assert answered <= answers(run) < answers(undisturbed), "none is lost, and it was not stopped too late to show that"

    slurm.wait_for(job, "COMPLETED")
    assert slurm.job(job)["Restarts"] == "2"
    printed = slurm.output(job)
    assert printed.startswith(first), "the log goes on"
    assert "train: resumes where it was interrupted" in printed
    assert "train: up to date" in printed and "predict: resumes where it was interrupted" in printed
    assert "mean of 9 of 11" in printed
    assert f"resuming from {checkpoint}" in run.log("train").read_text()
    assert_same(run, undisturbed)
    assert (run.tracker / "run-id").read_text() == id_then
    assert id_then.strip() in offline_file(run).name


@pytest.mark.parametrize("processes", [1, 2])
def test_scancel_ends_with_a_checkpoint_and_for_good(slurm: SlurmCluster, place: Path, processes: int) -> None:
    """Slurm sends SIGTERM to every process of the job: launcher, ranks and tracker must not die of it."""
    run = RunDir(place / f"runs/cancelled-{processes}")
    job = submit(slurm, place, *TRAINING, f"train.num_processes={processes}", f"name={run.root.name}")
    in_training(slurm, job, run)
    slurm.command("scancel", str(job))
    assert slurm.wait_for(job) == "CANCELLED"
    printed = slurm.output(job)
    assert f"job {job} was cancelled, so it is not put back into the queue" in printed
    assert "the tracker failed" not in printed
    [checkpoint] = run.checkpoints.glob("step-*")
    assert steps(run) == list(range(1, int(checkpoint.name.removeprefix("step-")) + 1))
    assert slurm.job(job)["Restarts"] == "0"
    if "track: not everything was copied" in printed:  # W&B's own process may have died of the signal
        subprocess.run([sys.executable, "-m", "sciriff.track", str(run.root), "--trust"], check=True, timeout=120)
    assert read_wandb(offline_file(run)).steps == steps(run)


def test_a_sweep_in_one_job_comes_back_as_a_whole(slurm: SlurmCluster, place: Path) -> None:
    command = ("-m", *TRAINING, "stages=[mix,train]", "log=none", "train.max_steps=12", "seed=1,2")
    job = submit(slurm, place, *command)
    name = "demo-s{}-max_steps-12"
    first, second = (RunDir(place / "runs" / name.format(seed)) for seed in (1, 2))
    in_training(slurm, job, second)
    slurm.command("scancel", "--signal=USR1", "--batch", str(job))
    slurm.wait_for_output(job, f"job {job} is back in the queue")
    slurm.wait_for(job, "COMPLETED")
    printed = slurm.output(job)
    assert printed.count("train: up to date") == 1 and printed.count("train: resumes where it was interrupted") == 1
    assert steps(first) == steps(second) == list(range(1, 13))


def test_a_task_of_an_array_comes_back_by_itself_but_not_for_ever(slurm: SlurmCluster, place: Path) -> None:
    array = submit_driver(slurm, place, "--array=0-1", "--requeue")
    tasks = [f"{array}_{number}" for number in (0, 1)]
    for task in tasks:
        slurm.wait_for_output(task, "started")
    slurm.command("scancel", "--signal=USR1", "--batch", tasks[1])
    slurm.wait_for_output(tasks[1], f"job {tasks[1]} is back in the queue")
    slurm.wait_for(tasks[1], "PENDING")
    assert (slurm.state(tasks[0]), slurm.job(tasks[0])["Restarts"]) == ("RUNNING", "0")

    slurm.wait_for(tasks[1], "RUNNING")
    wait_for(lambda: slurm.output(tasks[1]).count("started") == 2, lambda: slurm.output(tasks[1]) + slurm.logs())
    slurm.command("scancel", "--signal=USR1", "--batch", tasks[1])
    slurm.wait_for(tasks[1], "COMPLETED")
    last = slurm.output(tasks[1]).splitlines()[-1]
    assert last.startswith(f"job {tasks[1]} is not put back into the queue: it got no further since its last start")
    slurm.command("scancel", str(array))


def test_no_requeue_is_respected(slurm: SlurmCluster, place: Path) -> None:
    job = submit_driver(slurm, place, "--no-requeue")
    slurm.wait_for_output(job, "started")
    slurm.command("scancel", "--signal=TERM", "--batch", str(job))
    slurm.wait_for(job, "COMPLETED")
    assert "was submitted with --no-requeue" in slurm.output(job)


def test_a_time_limit_without_a_warning_and_preemption(slurm: SlurmCluster, place: Path, out_of_time: int) -> None:
    slurm.wait_for_output(out_of_time, f"job {out_of_time} is back in the queue")
    slurm.command("scancel", str(out_of_time))

    job = submit_driver(slurm, place, "--nodelist=n2", "--requeue")
    slurm.wait_for_output(job, "started")
    urgent = slurm.sbatch("--partition=urgent", "--nodelist=n2", "--exclusive", wrap="true")
    slurm.wait_for_output(job, f"Slurm has put job {job} back into the queue")
    slurm.wait_for(urgent, "COMPLETED")
    wait_for(lambda: slurm.output(job).count("started") == 2, lambda: slurm.output(job) + slurm.logs())
    slurm.command("scancel", str(job))


def test_a_node_that_dies_in_training_is_named_and_the_job_comes_back(
    slurm: SlurmCluster, place: Path, undisturbed: RunDir
) -> None:
    run = RunDir(place / "runs/node")
    options = (*TRAINING, "train.checkpoint_every=4", "stages=[mix,train]", "log=none", "name=node")
    job = submit(slurm, place, *options, file="slurm_multinode.sbatch")
    wait_for(lambda: len(steps(run)) >= 6, lambda: slurm.output(job) + slurm.logs())
    slurm.stop_node("n2")
    printed = slurm.wait_for_output(job, f"job {job} is back in the queue")
    assert "error: the connection to node n2 broke: it is down, or what ran there was killed" in printed
    assert len(steps(run)) < STEPS, "it was stopped too late to show anything"

    slurm.start_node("n2")
    slurm.wait_for(job, "COMPLETED", timeout=300)
    assert "resuming from" in run.log("train").read_text()
    losses = [[json.loads(line)["loss"] for line in r.metrics.read_text().splitlines()] for r in (run, undisturbed)]
    assert len(losses[0]) == STEPS and losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_node_that_slurm_alone_misses_is_named_too(slurm: SlurmCluster, place: Path) -> None:
    """Nothing of the job runs there, so it is Slurm that ends it."""
    job = submit_driver(slurm, place, "--nodes=2", "--requeue")
    slurm.wait_for_output(job, "started")
    slurm.stop_node("n2")
    slurm.wait_for_output(job, f"node n2 does not answer Slurm; Slurm has put job {job} back into the queue")
    slurm.command("scancel", str(job))
    slurm.start_node("n2")


def test_outside_of_a_batch_job_nothing_is_put_back() -> None:
    assert after_stop([signal.SIGTERM], ProgressSinceStart(), {}) is None
    assert after_stop([signal.SIGINT], ProgressSinceStart(), {"SLURM_JOB_ID": "1"}) is None


def test_without_scontrol_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = after_stop([signal.SIGUSR1], ProgressSinceStart(), {"SLURM_JOB_ID": "7"})
    assert said == "job 7 is not put back into the queue: there is no scontrol here; by hand: scontrol requeue 7"
