"""Start a command on every node of a run, as one child of this process: by srun where there is Slurm."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sciriff import lifeline, on_node, shared_files
from sciriff.cluster import Cluster


@dataclass(frozen=True)
class Start:
    """How a child is started that is there on every node."""

    command: list[str]
    variables: dict[str, str]
    """For this one start, not for the log: whoever pastes the command has another driver, or none."""
    lost: Callable[[], str | None] = lambda: None
    """The name of the node whose end has ended the command on all of them."""


@contextlib.contextmanager
def everywhere(cluster: Cluster, command: list[str], files: Iterable[Path]) -> Iterator[Start]:
    """How to start `command` once on every node, after these files have come there. All that was started ends with
    this block, or with this process. A word cluster.RANK in it is the node's number."""
    if cluster.size == 1:
        yield Start(command, {})
        return
    with lifeline.hold() as line:
        driver = f"{cluster.address}:{line.port}:{line.key}"
        variables = {on_node.DRIVER: driver, on_node.FILES: json.dumps(shared_files.as_written(files))}
        yield Start(
            cluster.srun([sys.executable, "-m", "sciriff.on_node", *command]),
            variables,
            lost=lambda: None if line.lost is None else cluster.nodes[line.lost],
        )
