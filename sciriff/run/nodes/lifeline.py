"""Connections between the driver and its processes on the nodes: each notices when the other ends.

Slurm's tasks outlive a killed srun, and Slurm notices a dead node after minutes (SlurmdTimeout), NCCL after more. The
kernel closes a connection when a process ends, however it ends, and its probes notice a lost machine or network.
"""

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator

MOST = 1024
"""Connections that may wait to be accepted: more than a run has nodes."""
STARTS_WITHIN = 60.0
"""Seconds within which the driver must answer."""
GOODBYE = b"."
"""Sent by a node when its command has ended, well or badly."""


class Lifeline:
    """The driver's end of the connections."""

    def __init__(self, listener: socket.socket) -> None:
        self.key = secrets.token_hex(16)
        self.port: int = listener.getsockname()[1]
        self.lost: int | None = None
        """Number of the first node to end, if that was without a goodbye."""
        self._listener = listener
        self._lines: list[socket.socket] = []
        self._over = False
        """Whether a node has ended: what happens to the others is a consequence."""
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        """Close all connections; the nodes then kill their commands."""
        with self._lock:
            self._over = True
        for line in (self._listener, *self._lines):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                line, _ = self._listener.accept()
                threading.Thread(target=self._follow, args=(line,), daemon=True).start()

    def _follow(self, line: socket.socket) -> None:
        keep_alive(line)
        number, last = None, b""
        with line, contextlib.suppress(OSError), line.makefile("rb") as file:
            key, _, word = file.readline(100).decode(errors="replace").strip().partition(" ")
            if not secrets.compare_digest(key.encode(), self.key.encode()):
                return
            number = int(word)
            self._lines.append(line)
            last = file.read()
        with self._lock:
            first, self._over = not self._over, True
            if first and last != GOODBYE:
                self.lost = number
        if self.lost is not None:
            self.end()


@contextlib.contextmanager
def hold() -> Iterator[Lifeline]:
    """Accept the nodes' connections while this block lasts."""
    # On all addresses: a machine's own name often means its loopback in its /etc/hosts.
    with socket.create_server(("", 0), backlog=MOST) as listener:
        lifeline = Lifeline(listener)
        try:
            yield lifeline
        finally:
            lifeline.end()


def watch(address: str, port: int, key: str, number: int, gone: Callable[[], None]) -> socket.socket:
    """Connect node `number`; a thread calls `gone` once the driver has ended. OSError if it has already."""
    line = socket.create_connection((address, port), timeout=STARTS_WITHIN)
    line.settimeout(None)
    keep_alive(line)
    line.sendall(f"{key} {number}\n".encode())

    def wait() -> None:
        with contextlib.suppress(OSError):  # a reset is an end too
            while line.recv(1):
                pass
        gone()

    threading.Thread(target=wait, daemon=True).start()
    return line


def keep_alive(line: socket.socket) -> None:
    """Notice within half a minute that the other machine has lost its power or its network."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # Linux
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
