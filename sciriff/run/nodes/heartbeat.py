"""Notice a node that is dead, stopped or cut off: each writes a file every few seconds, which the others read.

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
    """The heartbeat of another node as seen from here. Only changes count: clocks of two machines are never compared,
    and the file of an earlier start does not change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = self._read()
        self._read_at = time.monotonic()
        self.heard = False
        """Whether the file has changed since this object was made."""
        self._silence = 0.0

    def look(self) -> None:
        """Read the file again; call this every INTERVAL."""
        now = time.monotonic()
        # A pause of this process, or of the file system, is no silence of the other node.
        self._silence += min(now - self._read_at, 2 * INTERVAL)
        self._read_at = now
        if (content := self._read()) and content != self._content:
            self._content, self._silence, self.heard = content, 0.0, True

    @property
    def lost(self) -> bool:
        return self._silence > SILENT

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError:
            return b""


@contextlib.contextmanager
def beating(heartbeat: Path, problem: Callable[[], BaseException | None]) -> Iterator[None]:
    """Write this node's heartbeat while the block lasts. Each time call `problem`, and raise the first exception it
    returns in the main thread, whatever that waits for; Stopped arrives there as a scheduler's signal would."""
    over = threading.Event()
    problems: list[BaseException] = []
    main = threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):  # the others will find this node silent
                heartbeat.write_text(str(time.time_ns()))  # in place: NFS shows the newest content to who opens a file
            if not problems and (error := _problem_or_bug(problem)) is not None:
                problems.append(error)
                signal.pthread_kill(main, signal.SIGUSR1 if isinstance(error, Stopped) else signal.SIGUSR2)
            over.wait(INTERVAL)

    def raise_problem(*_: object) -> None:
        raise problems[0]

    before = signal.signal(signal.SIGUSR2, raise_problem)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR2, before)


def _problem_or_bug(problem: Callable[[], BaseException | None]) -> BaseException | None:
    """Return the problem; a bug in `problem` is one too, and ends the run with its traceback."""
    try:
        return problem()
    except Exception as bug:
        return bug
