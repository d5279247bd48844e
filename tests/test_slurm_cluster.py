"""The cluster of the tests: a Slurm that runs steps on both nodes, beside another one, and leaves nothing behind."""

from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, processes_of

pytestmark = pytest.mark.slow


def test_two_clusters_at_once_a_node_that_dies_and_nothing_left(tmp_path: Path) -> None:
    with SlurmCluster(tmp_path / "one") as slurm, SlurmCluster(tmp_path / "two", KillWait=2) as other:
        job = slurm.sbatch("--nodes=2", wrap="srun sh -c 'echo $SLURMD_NODENAME $SLURM_NODEID; sleep 1000'")
        slurm.wait_for(job, "RUNNING")
        slurm.wait_for_output(job, "n1 0", "n2 1")
        assert other.command("squeue", "-h") == ""

        slurm.stop_node("n2")
        assert processes_of(slurm, "n2") == []
        assert processes_of(slurm, "n1") != []
        slurm.start_node("n2")
    assert processes_of(slurm) == processes_of(other) == []
