"""The child that copies a run to its tracker, as the driver sees it: its failure is told and stops nothing."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

from sciriff import spawn
from sciriff.config import Config
from sciriff.run_dir import RunDir

ERROR = "error: "
PATIENCE = 120.0
"""Seconds after the end of a run in which its tracker may send what is left."""
PATIENCE_OF_A_STOP = 30.0
"""The same after a stop: who stops us may not wait, and the next start sends it."""
QUIET = 5.0
"""Seconds of these that pass without a word."""


@contextlib.contextmanager
def following(config: Config, run: RunDir) -> Iterator[Callable[[], None]]:
    """A child that follows the run's files until the block ends; yields what tells of its troubles so far."""
    if config.log.tracker == "none" or not {"train", "score"} & set(config.active_stages):
        yield lambda: None
        return
    command = [sys.executable, "-m", "sciriff.track", str(run.root), "--follow"]
    path = run.log("track")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as log:
        log.write(spawn.command_line(command, {}) + "\n")
        log.flush()
        start = log.tell()
        process = spawn.popen(command, {}, told_otherwise=True, stdin=subprocess.PIPE, stdout=log, stderr=log)
    with path.open(errors="replace") as log:
        log.seek(start)

        def tell() -> None:
            for line in log:
                if line.startswith(ERROR):
                    _say(line.removeprefix(ERROR).strip())

        stopped = False
        try:
            yield tell
        except spawn.Stopped:
            stopped = True
            raise
        finally:
            status = _end(process, PATIENCE_OF_A_STOP if stopped else PATIENCE)
            tell()
            again = spawn.command_line(command[:-1], {})
            if status and stopped:  # a scheduler's signal to all processes ends W&B's own
                _say(f"not everything was copied; the next start does that, or `{again}`")
            elif status:
                _say(f"the tracker failed, the run did not; log: {path}; this copies it again:\n  {again}")


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
