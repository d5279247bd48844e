"""Sweeps through hydra/launcher=slurm on a real Slurm with two nodes."""

import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, slurm

from sciriff import sweep

__all__ = ["slurm"]
pytestmark = pytest.mark.slow

SMALL = (
    *("experiment=demo", "train.max_steps=3", "train.checkpoint_every=null", "log=none"),
    *("eval.tasks=[bioasq_list_qa]", "eval.limit=1", "eval.max_new_tokens=8"),
)


def command(slurm: SlurmCluster, place: Path, *overrides: str, module: str = "sciriff.train") -> list[str]:
    return [sys.executable, "-m", module, *overrides]


def environment(slurm: SlurmCluster, place: Path) -> dict[str, str]:
    return {**slurm.environment, "SCIRIFF_CACHE": str(place / "cache")}


def run(slurm: SlurmCluster, place: Path, *words: str, module: str = "sciriff.train", timeout: float = 300):
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=place,
        env=environment(slurm, place),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_two_jobs(slurm: SlurmCluster, tmp_path: Path) -> None:
    words = ("-m", "hydra/launcher=slurm", *SMALL, "seed=1,2", "hydra.launcher.time=10")
    result = run(slurm, tmp_path, *words)
    print(result.stdout, result.stderr, slurm.logs())
    assert result.returncode == 0
    [place] = (tmp_path / "runs").glob("sweep-*")
    assert [row.status for row in sweep.jobs(place)] == ["done", "done"]
    again = run(slurm, tmp_path, *words)
    print(again.stdout, again.stderr)
    assert again.returncode == 0
