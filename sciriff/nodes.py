"""Start a command on every node of a run, as one child of this process: by srun where there is Slurm."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sciriff import lifeline, on_node
from sciriff.cluster import Cluster


@dataclass(frozen=True)
class Start:
    """How a child is started that is there on every node."""

    command: list[str]
    variables: dict[str, str]
    """For this one start, not for the log: whoever pastes the command has another driver, or none."""


@contextlib.contextmanager
def everywhere(cluster: Cluster, command: list[str], files: Mapping[str, str | None]) -> Iterator[Start]:
    """How to start `command` once on every node, after these files have come there, those with
    a digest as they are here (shared_files.as_written). All that was started ends with
    this block, or with this process. A word cluster.RANK in it is the node's number."""
    if cluster.size == 1:
        yield Start(command, {})
        return
    with lifeline.hold() as port:
        driver = f"{cluster.address}:{port}"
        variables = {on_node.DRIVER: driver, on_node.FILES: json.dumps(files)}
        yield Start(cluster.srun([sys.executable, "-m", "sciriff.on_node", *command]), variables)
