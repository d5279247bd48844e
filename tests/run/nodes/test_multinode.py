"""A run over two nodes of a real Slurm: the curve and the answers of one machine, in one folder."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from predict_runs import processes_below
from slurm_cluster import SlurmCluster, slurm

from sciriff.run.run_dir import RunDir

__all__ = ["slurm"]
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
DEMO = (
    *("experiment=demo", "name=demo", "train.max_steps=20"),
    *("eval.limit=2", "eval.max_new_tokens=12", "engine.batch_tokens=1200"),  # a dozen batches
)
MINUTES = 600
"""Seconds. DeepSpeed's first start on a machine compiles an operator for up to 100."""


def submit(slurm: SlurmCluster, folder: Path, *overrides: str) -> int:
    """`sbatch launch/slurm_multinode.sbatch ...`, with a cache below `folder`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), slurm.environment["PATH"]])
    variables = {"PATH": path, "PYTHONPATH": str(ROOT), "SCIRIFF_CACHE": f"{folder}/cache"}
    return slurm.sbatch(str(ROOT / "launch/slurm_multinode.sbatch"), *overrides, **variables)


def needs_deepspeed() -> None:
    pytest.importorskip("deepspeed")
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed compiles its CPU operator with g++")


def losses(run: RunDir) -> list[float]:
    return [json.loads(line)["loss"] for line in run.metrics.read_text().splitlines()]


def answers(run: RunDir) -> dict[str, list[dict[str, Any]]]:
    files = sorted(run.predictions.glob("*.jsonl"))
    return {file.name: [json.loads(line) for line in file.read_text().splitlines()] for file in files}


def files_of(run: RunDir) -> set[str]:
    return {path.name for path in run.root.iterdir() if not path.name.startswith(".")}


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The run of the demo in one process of plain torch."""
    folder = tmp_path_factory.mktemp("one")
    result = subprocess.run(
        [sys.executable, "-m", "sciriff.train", *DEMO, f"run_dir={folder}/run"],
        env={**os.environ, "SCIRIFF_CACHE": f"{folder}/cache"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=MINUTES,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return RunDir(folder / "run")


def test_zero_3_over_two_nodes_does_what_one_machine_does(
    slurm: SlurmCluster, one_machine: RunDir, tmp_path: Path
) -> None:
    needs_deepspeed()
    run = RunDir(tmp_path / "run")
    job = submit(slurm, tmp_path, *DEMO, "deepspeed=zero3", f"run_dir={run.root}")
    slurm.wait_for(job, "COMPLETED", timeout=MINUTES)
    launch = yaml.safe_load(run.accelerate.read_text())
    assert (launch["num_machines"], launch["num_processes"]) == (2, 2)
    log = run.log("train").read_text()
    assert log.startswith(("srun ", "GOMP_SPINCOUNT")) and "SCIRIFF_" not in log
    assert "2 cpu processes" in log and "DeepSpeed ZeRO-3" in log
    assert len(losses(run)) == 20
    assert losses(run) == pytest.approx(losses(one_machine), abs=1e-4)
    assert len(list(run.tracker.glob("offline-run-*"))) == 1
    assert files_of(run) == files_of(one_machine) | {"deepspeed.json"}
    assert [len(rows) for rows in answers(run).values()] == [2] * 9


def test_engines_on_two_nodes_answer_as_one_does(slurm: SlurmCluster, one_machine: RunDir, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    answering = ("train=none", f"eval.model={one_machine.model}", "stages=[predict]")
    job = submit(slurm, tmp_path, *DEMO[:2], *DEMO[3:], *answering, f"run_dir={run.root}")
    slurm.wait_for(job, "COMPLETED", timeout=MINUTES)
    assert answers(run) == answers(one_machine)
    log = run.log("predict").read_text()
    assert "2 engines on 2 nodes" in log
    assert "SCIRIFF_" not in log + slurm.output(job), "the way to the driver and its key are in no log"


def start_nodes(folder: Path, *overrides: str) -> "list[subprocess.Popen[str]]":
    """`NODES=2 NODE_RANK=... MASTER_ADDR=... launch/local.sh ...` in two shells, with one cache below `folder`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    place = {"NODES": "2", "MASTER_ADDR": "127.0.0.1", "SCIRIFF_CACHE": f"{folder}/cache"}
    return [
        subprocess.Popen(
            [str(ROOT / "launch/local.sh"), *overrides],
            env={**environment, **place, "NODE_RANK": str(rank), "PATH": path, "PYTHONPATH": str(ROOT)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]


def test_two_commands_without_slurm_do_the_same_through_all_that_ends_them(one_machine: RunDir, tmp_path: Path) -> None:
    needs_deepspeed()
    run = RunDir(tmp_path / "run")
    command = (*DEMO, "deepspeed=zero3", "train.checkpoint_every=4", f"run_dir={run.root}")

    nodes = trained_to(3, run, start_nodes(tmp_path, *command))
    nodes[1].send_signal(signal.SIGINT)
    outputs = [node.communicate(timeout=MINUTES)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [130, 130], outputs
    assert all("Resume with:" in output for output in outputs)
    stopped_at = len(losses(run))
    checkpoint = run.checkpoints / f"step-{stopped_at}"
    assert checkpoint.is_dir()

    nodes = trained_to(stopped_at + 4, run, start_nodes(tmp_path, *command))
    assert f"resuming from {checkpoint}" in run.log("train").read_text()
    nodes[1].kill()
    assert_named(1, nodes, run)

    nodes = trained_to(stopped_at + 8, run, start_nodes(tmp_path, *command))
    frozen = [nodes[0].pid, *processes_below(nodes[0].pid)]
    for pid in frozen:  # a machine that hangs
        os.kill(pid, signal.SIGSTOP)
    assert_named(0, nodes, run, frozen)

    nodes = start_nodes(tmp_path, *command)
    outputs = [node.communicate(timeout=MINUTES)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert losses(run) == pytest.approx(losses(one_machine), abs=1e-4) and len(losses(run)) == 20
    log = run.log("train").read_text()
    assert "2 cpu processes" in log and "DeepSpeed ZeRO-3" in log
    assert "2 engines on 2 nodes" in run.log("predict").read_text()
    assert [len(rows) for rows in answers(run).values()] == [2] * 9
    assert files_of(run) == files_of(one_machine) | {"deepspeed.json"}
    assert run.log("train-node-1").exists() and run.log("predict-node-1").exists()


def trained_to(step: int, run: RunDir, nodes: "list[subprocess.Popen[str]]") -> "list[subprocess.Popen[str]]":
    """The nodes, once they are in the middle of training."""
    give_up_at = time.monotonic() + MINUTES
    while not run.metrics.exists() or len(losses(run)) < step:
        ended = [node.communicate()[0] for node in nodes if node.poll() is not None]
        assert not ended and time.monotonic() < give_up_at, ended
        time.sleep(0.05)
    return nodes


def assert_named(victim: int, nodes: "list[subprocess.Popen[str]]", run: RunDir, frozen: Sequence[int] = ()) -> None:
    """The other one ends in time and says which node is lost; nothing is left of either."""
    said, _ = nodes[1 - victim].communicate(timeout=60)
    assert nodes[1 - victim].returncode == 1
    assert f"error: node {victim} has not been heard" in said and "Traceback" not in said
    for pid in frozen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    nodes[victim].communicate()
    wait_until_nothing_runs(run)


def wait_until_nothing_runs(run: RunDir) -> None:
    """Until no process has the run folder on its command line, those whose parent was killed among them."""
    give_up_at = time.monotonic() + 30
    while found := [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if str(run.root) in read(path)]:
        assert time.monotonic() < give_up_at, found
        time.sleep(0.1)


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""
