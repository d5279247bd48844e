"""Connections between nodes over which objects travel, open only to those who have the key.

Both ends prove that they have it (multiprocessing.connection, HMAC) before anything is read; the key itself is never
sent. What follows is neither encrypted nor signed: a cluster's network is trusted as far as NCCL and gloo trust it.
"""

import contextlib
import secrets
import socket
import struct
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path

from sciriff.run.nodes.lifeline import keep_alive

KEY_FILE = "SCIRIFF_KEY_FILE"
"""Variable: where the key of nodes that have joined is."""

SILENT = 10.0
"""Seconds after which somebody who connects and does not prove that he has the key is sent away."""


def new_key() -> bytes:
    return secrets.token_hex(32).encode()


def write_key(path: Path, key: bytes) -> None:
    """Leave the key in a file that its owner alone can read."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    partial.touch(0o600, exist_ok=False)
    partial.write_bytes(key)
    partial.replace(path)


def listen(port: int = 0) -> socket.socket:
    """A socket for `accept`, on all addresses: a machine's own name often means its loopback in its /etc/hosts."""
    return socket.create_server(("", port), backlog=1024)


def accept(listener: socket.socket, key: bytes) -> Connection | None:
    """The next one who connects; None for somebody without the key."""
    line, _ = listener.accept()
    with contextlib.suppress(OSError, EOFError, AuthenticationError):
        return _open(line, key, first=True)
    return None


def connect(address: str, port: int, key: bytes, patience: float) -> Connection:
    """A connection to who listens there, or will within `patience` seconds. OSError where nobody does, and
    AuthenticationError where it is somebody with another key."""
    give_up_at = time.monotonic() + patience
    while True:
        try:
            return _open(socket.create_connection((address, port), timeout=SILENT), key, first=False)
        except (OSError, EOFError) as error:
            if time.monotonic() > give_up_at:
                raise OSError(f"nothing answers at {address}:{port} ({error})") from None
            time.sleep(0.2)


def _open(line: socket.socket, key: bytes, first: bool) -> Connection:
    line.settimeout(None)
    keep_alive(line)
    _limit_reads(line, SILENT)
    connection = Connection(line.detach())
    try:
        for prove in (deliver_challenge, answer_challenge) if first else (answer_challenge, deliver_challenge):
            prove(connection, key)
    except BaseException:
        connection.close()
        raise
    with socket.socket(fileno=connection.fileno()) as again:
        _limit_reads(again, 0)
        again.detach()
    return connection


def _limit_reads(line: socket.socket, seconds: float) -> None:
    """Let each read of the kernel's socket fail after so long; 0 lets it wait. It holds for Connection too, which knows
    no timeouts."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), 0))
