"""Notice a node that is dead, stopped or cut off: each one writes a file every few seconds, and the others look at it.

torchrun blames the survivor when a node dies, and does not notice at all one that is stopped (SIGSTOP, a hung machine).
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sciriff.run.spawn import Stopped

INTERVAL = 2.0
"""Seconds between two heartbeats."""

SILENT = 30.0
"""Seconds without a heartbeat after which a node is lost."""


class Heart:
    """The heartbeat of another node as seen from here. Only its changes count: clocks of two machines are never
    compared, and what an earlier start has left behind does not change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._read()
        self._looked = time.monotonic()
        self.heard = False
        """Whether it has changed since this object was made."""
        self._silence = 0.0

    def look(self) -> None:
        """Read the file again; to be called every INTERVAL."""
        now = time.monotonic()
        # A pause of this process, or of the file system, is no silence of the other node.
        self._silence += min(now - self._looked, 2 * INTERVAL)
        self._looked = now
        if (found := self._read()) and found != self._seen:
            self._seen, self._silence, self.heard = found, 0.0, True

    @property
    def lost(self) -> bool:
        return self._silence > SILENT

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError:
            return b""


@contextlib.contextmanager
def beating(own: Path, problem: Callable[[], BaseException | None]) -> Iterator[None]:
    """Write this node's heartbeat as long as the block lasts. Each time ask for a `problem`, and raise the first one in
    the main thread, whatever that is waiting for; Stopped arrives there as a scheduler's signal would."""
    over = threading.Event()
    found: list[BaseException] = []
    main = threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):  # the others will find this node silent
                own.write_text(str(time.time_ns()))  # in place: who opens a file on NFS sees its newest content
            if not found and (error := _found(problem)) is not None:
                found.append(error)
                signal.pthread_kill(main, signal.SIGUSR1 if isinstance(error, Stopped) else signal.SIGUSR2)
            over.wait(INTERVAL)

    def raise_found(*_: object) -> None:
        raise found[0]

    before = signal.signal(signal.SIGUSR2, raise_found)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR2, before)


def _found(problem: Callable[[], BaseException | None]) -> BaseException | None:
    """The problem; a bug of the search is one too, so that it ends the run with its traceback."""
    try:
        return problem()
    except Exception as bug:
        return bug
