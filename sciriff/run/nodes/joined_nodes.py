"""Nodes without Slurm, as the driver sees them: each has joined by the same command, and starts what it is told.

Their connections stay open as long as the driver lives. Its children inherit them, so that start_on_joined.py, which
does for these nodes what srun does, can be a child like any other.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

from sciriff.run import machine
from sciriff.run.nodes import node_connection
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

CONNECTIONS = "SCIRIFF_JOINED"
"""Variable: the file descriptors of the connections to node 1, 2 and so on."""

JOIN_WITHIN = 600.0
"""Seconds. Nodes of a cloud are not ready at the same moment."""


def connections(environment: Mapping[str, str] = os.environ) -> list[int]:
    """The descriptors that children inherit; none where no node has joined."""
    return [int(word) for word in environment.get(CONNECTIONS, "").split(",") if word]


@contextlib.contextmanager
def joined(there: Cluster, run: RunDir, settings: dict[str, Any]) -> Iterator[None]:
    """Have all other nodes join, and let them go at the end, however it comes about. UserError where one does not
    come, has other `settings` (a config's), or has another number of GPUs."""
    assert there.port is not None
    try:
        listener = node_connection.listen(there.port)
    except OSError as error:
        raise UserError(
            f"port {there.port} on this machine cannot be used ({error.strerror}): set MASTER_PORT to another one, the "
            "same on all nodes"
        ) from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener)
        key = node_connection.new_key()
        node_connection.write_key(run.nodes_key, key)
        stack.callback(run.nodes_key.unlink, missing_ok=True)
        nodes: dict[int, Connection] = {}
        stack.callback(_let_go, nodes)
        more = f"{there.size - 1} more node{'s' * (there.size > 2)}"
        print(f"waiting for {more} on port {there.port}", file=sys.stderr, flush=True)
        give_up_at = time.monotonic() + JOIN_WITHIN
        while len(nodes) < there.size - 1:
            if time.monotonic() > give_up_at:
                missing = next(number for number in range(1, there.size) if number not in nodes)
                raise UserError(
                    f"node {missing} has not joined within {JOIN_WITHIN:.0f} s: start the same command there, with "
                    f"NODES={there.size} NODE_RANK={missing} MASTER_ADDR={there.address}"
                )
            ready = wait([listener, *nodes.values()], timeout=1)
            for rank in [rank for rank, node in nodes.items() if node in ready]:  # one that waits says nothing
                nodes.pop(rank).close()
                print(f"node {rank} has ended; it may join again", file=sys.stderr, flush=True)
            if listener not in ready or (node := node_connection.accept(listener, key)) is None:
                continue
            if (hello := _hello(node)) is None:
                continue
            if problem := _mismatch(there, nodes, hello, settings):
                _tell(node, "refused", problem)
                raise UserError(problem)
            if _tell(node, "welcome"):
                nodes[hello["rank"]] = node
        listener.close()
        descriptors = [nodes[rank].fileno() for rank in sorted(nodes)]
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        for name, value in (
            (CONNECTIONS, ",".join(map(str, descriptors))),
            (node_connection.KEY_FILE, str(run.nodes_key)),
        ):
            os.environ[name] = value
            stack.callback(os.environ.pop, name)
        yield
        for node in nodes.values():
            _tell(node, "done")


def _tell(node: Connection, word: str, content: str | None = None) -> bool:
    """Whether a node was still there for it."""
    with contextlib.suppress(OSError):
        node.send((word, content))
        return True
    return False


def _hello(node: Connection) -> dict[str, Any] | None:
    """What a node that has the key says of itself; None where it ends before, or says nothing."""
    with contextlib.suppress(EOFError, OSError):
        if node.poll(node_connection.SILENT):
            hello: dict[str, Any] = node.recv()
            return hello
    node.close()
    return None


def _let_go(nodes: dict[int, Connection]) -> None:
    """Without a word before it, a node takes this for the driver's death, and ends what it runs."""
    for node in nodes.values():
        node.close()


def _mismatch(
    there: Cluster, nodes: dict[int, Connection], hello: dict[str, Any], settings: dict[str, Any]
) -> str | None:
    """Why a node cannot be one of this run's."""
    rank, gpus = hello["rank"], len(machine.gpus())
    if rank in nodes:
        return f"two nodes have joined with NODE_RANK={rank}; each needs a number of its own"
    if hello["nodes"] != there.size:
        return f"node {rank} was started with NODES={hello['nodes']}, and node 0 with NODES={there.size}"
    ours, theirs = _flat(settings), _flat(hello["settings"])
    for key in sorted({**ours, **theirs}, key=lambda key: (key == "name", key)):  # a name is made of the others
        if ours.get(key) != theirs.get(key):
            return (
                f"node {rank} was started with {key}={theirs.get(key)}, and node 0 with {ours.get(key)}: the command "
                "must be the same on all nodes"
            )
    if hello["gpus"] != gpus:
        return f"node {rank} has {hello['gpus']} GPUs, and node 0 has {gpus}; all nodes must have the same"
    return None


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name, part in value.items() for k, v in _flat(part, f"{key}.{name}" if key else name).items()}
