"""A run over two nodes of a real Slurm: the curve and the answers of one machine, in one folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from slurm_cluster import SlurmCluster, slurm

from sciriff.run_dir import RunDir

__all__ = ["slurm"]
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
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
