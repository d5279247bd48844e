"""The child that copies a run to its tracker, as the driver sees it: its failure is told and stops nothing."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

from sciriff.config import Config
from sciriff.run import spawn
from sciriff.run.run_dir import RunDir
from sciriff.track.copied import is_copied

ERROR = "error: "
PATIENCE = 120.0
"""Seconds after the end of a run in which its tracker may send what is left."""
PATIENCE_OF_A_STOP = 30.0
"""The same after a stop: who stops us may not wait, and the next start sends it."""
QUIET = 5.0
"""Seconds of these that pass without a word."""


class Tracker:
    """The child of one run, once it has begun. A run without a tracker has one that does nothing."""

    def __init__(self, config: Config, run: RunDir) -> None:
        self._run = run
        self._wanted = config.log.tracker != "none" and bool({"train", "score"} & set(config.active_stages))
        self._process: subprocess.Popen[str] | None = None
        self._told = 0
        """Bytes of its log that were looked at."""
        if not is_copied(config, run):
            self.begin()

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-m", "sciriff.track", str(self._run.root)]

    def begin(self) -> None:
        """Follow the files of the run from now on, before the first of them changes."""
        if self._process is not None or not self._wanted:
            return
        command = [*self._command, "--follow"]
        path = self._run.log("track")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as log:
            log.write(spawn.command_line(command, {}) + "\n")
            log.flush()
            self._told = log.tell()
            self._process = spawn.popen(command, {}, told_otherwise=True, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def tell(self) -> None:
        """Say what went wrong since the last time."""
        if self._process is None:
            return
        with self._run.log("track").open("rb") as log:
            log.seek(self._told)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._told += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if line.startswith(ERROR):
                _say(line.removeprefix(ERROR))

    def end(self, stopped: bool) -> None:
        """Let the child send what is left, and say how it ended."""
        if self._process is None:
            return
        status = _end(self._process, PATIENCE_OF_A_STOP if stopped else PATIENCE)
        self.tell()
        again = spawn.command_line(self._command, {})
        if status and stopped:  # a scheduler's signal to all processes ends W&B's own
            _say(f"not everything was copied; the next start does that, or `{again}`")
        elif status:
            log = self._run.log("track")
            _say(f"the tracker failed, the run did not; log: {log}; this copies it again:\n  {again}")


@contextlib.contextmanager
def following(config: Config, run: RunDir) -> Iterator[Tracker]:
    """A tracker for as long as the block lasts. What it has all of already waits until it is told to begin."""
    tracker, stopped = Tracker(config, run), False
    try:
        yield tracker
    except spawn.Stopped:
        stopped = True
        raise
    finally:
        tracker.end(stopped)


def _end(process: "subprocess.Popen[str]", patience: float) -> int:
    """Tell the child that the run is over, let it send what is left, and return its exit status."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=QUIET)
    _say(f"sending what is left, for {patience:.0f} s at most")
    try:
        return process.wait(timeout=patience - QUIET)
    except subprocess.TimeoutExpired:
        _say(f"gave up after {patience:.0f} s")
        spawn.signal_group(process, signal.SIGKILL)
        return process.wait()


def _say(text: str) -> None:
    print(f"track: {text}", file=sys.stderr, flush=True)
