"""A connection that tells a process on another node when the one that started it is gone.

Slurm's tasks outlive a killed srun. The kernel keeps the starter's end open: it takes connections to a socket that
listens, nobody need accept them, and closes them when the starter ends, however that comes about. Nothing is sent.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

MOST = 1024
"""Connections that are waiting; more nodes than that nobody has here."""

STARTS_WITHIN = 60.0
"""Seconds in which the first node must answer."""


@contextlib.contextmanager
def hold() -> Iterator[int]:
    """Be there for the others as long as this block lasts, on the port that it yields."""
    # On all addresses: a machine's own name often means its loopback in its /etc/hosts.
    with socket.create_server(("", 0), backlog=MOST) as listener:
        yield listener.getsockname()[1]


def watch(address: str, port: int, gone: Callable[[], None]) -> None:
    """Call `gone`, in a thread, once the process that holds the line has ended. OSError where it has already."""
    line = socket.create_connection((address, port), timeout=STARTS_WITHIN)
    line.settimeout(None)
    keep_alive(line)

    def wait() -> None:
        with contextlib.suppress(OSError):  # a reset is an end too
            while line.recv(1):
                pass
        gone()

    threading.Thread(target=wait, daemon=True).start()


def keep_alive(line: socket.socket) -> None:
    """Notice within half a minute that the machine at the other end has lost its power or its network."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # Linux
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
