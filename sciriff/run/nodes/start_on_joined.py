"""What srun does, for nodes that have joined: run a command on each of them and this one, and end all when one fails.

`python -m sciriff.run.nodes.start_on_joined COMMAND`, as a child of a driver with such nodes.
"""

import contextlib
import json
import os
import signal
import sys
from multiprocessing.connection import Connection, wait

from sciriff.run.nodes import joined_nodes, on_node
from sciriff.run.parent_death import die_with_parent

VARIABLES = "SCIRIFF_VARIABLES"
"""Variable: names of those that the other nodes get too."""

ENDS_WITHIN = 10.0
"""Seconds that a node has to end what it runs."""


def main() -> int:
    """Returns 0, or the status of the first part that failed."""
    die_with_parent()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # as in on_node.py
    if not joined_nodes.connections():
        print("error: no node has joined here: the driver starts this, NODES=... NODE_RANK=0 launch/local.sh ...")
        return 2
    files = json.loads(os.environ.get(on_node.FILES, "{}"))
    names = json.loads(os.environ.get(VARIABLES, "[]"))
    order = {
        "command": sys.argv[1:],
        "files": files,
        "variables": {name: os.environ[name] for name in names if name in os.environ},
    }
    nodes = {Connection(descriptor): rank for rank, descriptor in enumerate(joined_nodes.connections(), 1)}
    here = on_node.start(sys.argv[1:], 0, files)
    at_work = dict(nodes)
    status = 0
    try:
        for node, rank in nodes.items():
            try:
                node.send(("start", order))
            except OSError:
                return _gone(rank)
        while (at_work or here.poll() is None) and not status:
            for ready in wait(list(at_work), timeout=0.2):
                assert isinstance(ready, Connection)
                status = status or _hear(ready, at_work)
            status = status or here.poll() or 0
    finally:
        here.kill()
        here.wait()
        _stop(at_work)
    return 128 - status if status < 0 else status


def _hear(node: Connection, at_work: dict[Connection, int]) -> int:
    """Take a message of a node. Returns the status of its part, once that has failed."""
    try:
        word, content = node.recv()
    except (EOFError, OSError):
        return _gone(at_work.pop(node))
    if word == "output":
        print(content, end="", flush=True)
        return 0
    rank = at_work.pop(node)
    if content:
        how = f"was killed by {signal.Signals(-content).name}" if content < 0 else f"ended with status {content}"
        print(f"what ran on node {rank} {how}", flush=True)
    return int(content)


def _gone(rank: int) -> int:
    print(
        f"error: node {rank} is gone: its process or the network to it has ended; start it again on all nodes, and it "
        "goes on",
        flush=True,
    )
    return 1


def _stop(at_work: dict[Connection, int]) -> None:
    """Have the nodes end what they run; what they still say is heard."""
    for node in at_work:
        with contextlib.suppress(OSError):
            node.send(("stop", None))
    while at_work:
        heard = wait(list(at_work), timeout=ENDS_WITHIN)
        if not heard:
            return
        for ready in heard:
            assert isinstance(ready, Connection)
            _hear(ready, at_work)


if __name__ == "__main__":
    sys.exit(main())
