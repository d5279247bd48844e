"""Start a stage on every node of a run. This process has one child; the other nodes may start theirs themselves."""

import contextlib
import json
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from sciriff.run.nodes import lifeline, on_node, without_slurm
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.run_dir import RunDir

START = "SCIRIFF_START"
"""Variable with the id of one start of a stage, the same on all nodes."""


@dataclass(frozen=True)
class Start:
    """How to start this process's child."""

    command: list[str]
    variables: dict[str, str] = field(default_factory=dict)
    """For this start and not for the log: a pasted command has another driver, or none."""
    lost: Callable[[], str | None] = lambda: None
    """Returns the name of the node whose end ended the command on all nodes; None if there is none."""
    stop: Callable[[], None] | None = None
    """Ends the command on all nodes; None if a signal to the child does."""


@contextlib.contextmanager
def everywhere(
    cluster: Cluster, stage: str, run: RunDir, command: list[str], files: Mapping[str, str | None]
) -> Iterator[Start]:
    """Run `command` once on every node, after `files` have arrived there (shared_files.wait_for). Under Slurm the word
    cluster.RANK becomes the node's number; without Slurm the other nodes make the command of the stage themselves. All
    that was started ends with this block, or with this process."""
    if cluster.size == 1:
        yield Start(command)
    elif cluster.slurm:
        with lifeline.hold() as line:
            variables = {
                START: secrets.token_hex(8),
                on_node.FILES: json.dumps(files),
                on_node.DRIVER: f"{cluster.address}:{line.port}:{line.key}",
                "NODES": str(cluster.size),
                "MASTER_ADDR": cluster.address,
            }
            yield Start(
                cluster.srun([sys.executable, "-m", "sciriff.run.nodes.on_node", *command]),
                variables,
                lost=lambda: None if line.lost is None else cluster.nodes[line.lost],
                stop=line.end,
            )
    else:
        assert without_slurm.leading is not None, "only node 0 runs stages"
        with without_slurm.leading.together(stage, run, dict(files), cluster.port) as key:
            yield Start(command, {START: key})
