"""Start a command on every node of a run, as one child of this process: by srun, or on nodes that have joined."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sciriff.run.nodes import lifeline, on_node, start_on_joined
from sciriff.run.nodes.cluster import Cluster


@dataclass(frozen=True)
class Start:
    """How a child is started that is there on every node."""

    command: list[str]
    variables: dict[str, str]
    """For this one start, not for the log: whoever pastes the command has another driver, or none."""
    lost: Callable[[], str | None] = lambda: None
    """The name of the node whose end has ended the command on all of them."""


@contextlib.contextmanager
def everywhere(
    cluster: Cluster, command: list[str], files: Mapping[str, str | None], variables: Iterable[str] = ()
) -> Iterator[Start]:
    """How to start `command` once on every node, after these files have come there, those with a digest as they are
    here (shared_files.as_written). A word cluster.RANK in it is the node's number. All that was started ends with this
    block, or with this process. srun hands on all variables, nodes that have joined get those of these names."""
    if cluster.size == 1:
        yield Start(command, {})
        return
    waits_for = {on_node.FILES: json.dumps(files)}
    if not cluster.slurm:
        given = {**waits_for, start_on_joined.VARIABLES: json.dumps(list(variables))}
        yield Start([sys.executable, "-m", "sciriff.run.nodes.start_on_joined", *command], given)
        return
    with lifeline.hold() as line:
        driver = {on_node.DRIVER: f"{cluster.address}:{line.port}:{line.key}"}
        yield Start(
            cluster.srun([sys.executable, "-m", "sciriff.run.nodes.on_node", *command]),
            {**waits_for, **driver},
            lost=lambda: None if line.lost is None else cluster.nodes[line.lost],
        )
