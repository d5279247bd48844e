"""Where the driver is: on one machine, on the first node of a Slurm allocation, or on one of some nodes without Slurm.

One driver runs the stages, on the first node; everywhere.py starts processes on all of them. Loads no framework.
"""

import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from sciriff.run.slurm_command import NoAnswer, ask
from sciriff.run.user_error import UserError

RANK = "NODE_RANK"
"""The variable with a node's number, and the word for it in a command for srun (on_node.py)."""
STEP_OF_SRUN = 0xFFFFFFF0
"""Slurm's own steps (batch, interactive ...) have numbers from here on (slurm.h); srun counts from 0."""


@dataclass(frozen=True)
class Cluster:
    """The nodes of this run; the driver is on the first."""

    nodes: tuple[str, ...] = ("this machine",)
    """Names."""
    rank: int = 0
    """Number of this node."""
    address: str = "127.0.0.1"
    """Address of the first node for the others."""
    port: int | None = None
    """Port of the first node where training's processes meet (MASTER_PORT); None takes a free one."""
    slurm: bool = False
    """Whether srun starts processes on the nodes; else the command was started on each."""
    cores: int = 1
    """CPU cores of each node that belong to the job, under Slurm."""
    gpus: int = 0
    """GPUs of each node that Slurm has given to the job; 0 if it manages none."""

    @property
    def size(self) -> int:
        return len(self.nodes)

    @property
    def by_hand(self) -> bool:
        """Whether the command was started on each of several nodes."""
        return self.size > 1 and not self.slurm

    def meeting_port(self) -> int:
        """Return the port of the first node where training's processes meet."""
        if self.port:
            return self.port
        with socket.socket() as probe:
            probe.bind(("", 0))
            return int(probe.getsockname()[1])

    def srun(self, command: list[str]) -> list[str]:
        """Return the srun command that starts `command` once on every node, and ends all when one fails."""
        return [
            *("srun", f"--nodes={self.size}", f"--ntasks={self.size}", "--ntasks-per-node=1"),
            # Else a task may be bound to one core: srun does not take over what sbatch was told.
            *(f"--cpus-per-task={self.cores}", "--cpu-bind=none"),
            *([f"--gpus-per-node={self.gpus}"] if self.gpus else []),
            *("--kill-on-bad-exit=1", "--overlap", "--export=ALL", "--input=none"),
            *command,
        ]


def here(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Return the nodes of a driver started here: by NODES, NODE_RANK and MASTER_ADDR, else the Slurm allocation's, else
    this machine alone. UserError if these variables contradict each other or srun started several processes."""
    if "NODE_RANK" in environment or ("NODES" in environment and "SLURM_JOB_ID" not in environment):
        return _by_hand(environment)
    if "SLURM_JOB_ID" in environment:
        return _by_slurm(environment)
    return Cluster()


def training_processes(processes: int | str, gpus: int, nodes: int) -> int:
    """Training processes on nodes of `gpus` GPUs each. UserError if `processes`, train.num_processes, do not fit."""
    if processes == "auto":
        return nodes * max(1, gpus)
    wanted = int(processes)
    if wanted % nodes:
        raise UserError(f"train.num_processes={wanted} cannot be spread evenly over {nodes} nodes")
    if 0 < gpus < wanted // nodes:
        where = "this machine has" if nodes == 1 else f"there are {nodes} nodes, each with"
        raise UserError(
            f"train.num_processes={wanted}, but {where} {gpus} GPU{'s' * (gpus > 1)}; each process needs its own"
        )
    return wanted


def replicas_per_node(replicas: int | str, ways: int, gpus: int, nodes: int) -> list[int]:
    """Replicas on each node, of `ways` GPUs each; `replicas` is engine.replicas. UserError where GPUs are too few."""
    if replicas == "auto":
        counts = [max(1, gpus // ways)] * nodes
    else:
        counts = [int(replicas) // nodes + (node < int(replicas) % nodes) for node in range(nodes)]
    if 0 < gpus < max(counts) * ways:
        raise UserError(
            f"engine.tensor_parallel={ways} with engine.replicas={replicas} needs {max(counts) * ways} GPUs"
            f"{' on a node' if nodes > 1 else ''}, and there {'is' if gpus == 1 else 'are'} {gpus}"
        )
    return counts


def _by_hand(environment: Mapping[str, str]) -> Cluster:
    nodes = _number(environment, "NODES", least=1)
    rank = _number(environment, "NODE_RANK", least=0) if nodes > 1 or "NODE_RANK" in environment else 0
    if rank >= nodes:
        raise UserError(f"NODE_RANK={rank} with NODES={nodes}: the nodes are numbered from 0 to {nodes - 1}")
    if nodes == 1:
        return Cluster()
    if not environment.get("MASTER_ADDR"):
        raise UserError(f"NODES={nodes} needs MASTER_ADDR, the name or address of node 0 as the others reach it")
    names = tuple(f"node {number}" for number in range(nodes))
    return Cluster(names, rank, environment["MASTER_ADDR"], _port(environment))


def _by_slurm(environment: Mapping[str, str]) -> Cluster:
    if int(environment.get("SLURM_STEP_ID", STEP_OF_SRUN)) < STEP_OF_SRUN:
        tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
        if tasks > 1:
            raise UserError(
                f"srun has started this command {tasks} times, and each would be a run of its own: start it once, "
                "without srun (sbatch launch/slurm_multinode.sbatch ...); it starts processes on all nodes by itself"
            )
        return Cluster()  # the one node that srun was asked for
    if int(environment.get("SLURM_JOB_NUM_NODES", "1")) == 1:
        return Cluster()
    if shutil.which("srun") is None:
        raise UserError(
            "this job has several nodes, and there is no srun here to start processes on them; in a container, see "
            "launch/README.md"
        )
    try:
        nodes = tuple(ask("scontrol", "show", "hostnames", environment["SLURM_JOB_NODELIST"]).split())
        words = ask("scontrol", "--oneliner", "show", "node", nodes[0]).split(" ")
    except NoAnswer as error:
        raise UserError(f"Slurm does not answer: {error}; try again later") from None
    facts = dict(word.split("=", 1) for word in words if "=" in word)
    cores_per_node = environment.get("SLURM_JOB_CPUS_PER_NODE", "1").split(",")  # as in 72(x2),36
    return Cluster(
        nodes=nodes,
        address=environment.get("MASTER_ADDR") or facts.get("NodeAddr", nodes[0]),
        port=_port(environment),
        slurm=True,
        cores=min(int(cores.partition("(")[0]) for cores in cores_per_node),
        gpus=_number({"SLURM_GPUS_ON_NODE": "0", **environment}, "SLURM_GPUS_ON_NODE", least=0),
    )


def _port(environment: Mapping[str, str]) -> int | None:
    return _number(environment, "MASTER_PORT", least=1) if "MASTER_PORT" in environment else None


def _number(environment: Mapping[str, str], name: str, least: int) -> int:
    text = environment.get(name, "")
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}={text} must be a whole number of at least {least}" if text else f"{name} is not set")
    return int(text)
