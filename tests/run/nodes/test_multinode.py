"""A run over two nodes of a real Slurm: the curve and the answers of one machine, in one folder."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from slurm_cluster import SlurmCluster, free_ports, slurm

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
    pytest.importorskip("deepspeed")
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed compiles its CPU operator with g++")
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
    for name in ("SCIRIFF_STAGE", "SCIRIFF_DRIVER"):
        assert name not in log + slurm.output(job), "the key and the way to the driver are in no log"


def start_node(folder: Path, rank: int, port: int, *overrides: str) -> "subprocess.Popen[str]":
    """`NODES=2 NODE_RANK=... MASTER_ADDR=... launch/local.sh ...`"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    place = {"NODES": "2", "NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        [str(ROOT / "launch/local.sh"), *overrides],
        env={**environment, **place, "PATH": path, "PYTHONPATH": str(ROOT), "SCIRIFF_CACHE": f"{folder}/cache"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_commands_without_slurm_do_the_same(one_machine: RunDir, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    (port,) = free_ports(1)
    nodes = [start_node(tmp_path, rank, port, *DEMO, f"run_dir={run.root}") for rank in (1, 0)]
    outputs = [node.communicate(timeout=MINUTES)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(outputs)
    assert losses(run) == pytest.approx(losses(one_machine), abs=1e-4)
    assert "2 cpu processes" in run.log("train").read_text()
    assert "2 engines on 2 nodes" in run.log("predict").read_text()
    assert files_of(run) == files_of(one_machine)
    assert not run.nodes_key.exists()


def test_a_node_that_vanishes_ends_the_driver_and_the_driver_the_node(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    command = ("experiment=demo", "name=demo", "stages=[mix,train]", "train.epochs=500", "log=none")
    for victim, survivor in ((1, 0), (0, 1)):
        (port,) = free_ports(1)
        nodes = [start_node(tmp_path, rank, port, *command, f"run_dir={run.root}") for rank in (0, 1)]
        run.metrics.unlink(missing_ok=True)
        give_up_at = time.monotonic() + MINUTES
        while not run.metrics.exists():
            ended = [node.communicate()[0] for node in nodes if node.poll() is not None]
            assert not ended and time.monotonic() < give_up_at, ended
            time.sleep(0.1)
        nodes[victim].kill()
        said, _ = nodes[survivor].communicate(timeout=60)
        assert nodes[survivor].returncode == 1
        assert {0: "node 1 is gone", 1: "the driver on node 0 (127.0.0.1) has ended"}[survivor] in said
        assert "Traceback" not in said
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
