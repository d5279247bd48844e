"""The driver's child that copies a run to its tracker. Its failure is reported and does not stop the run."""

import contextlib
import signal
import subprocess
import sys
from types import TracebackType

from sciriff.config import Config, to_yaml
from sciriff.config.trust import DIGEST, TRUST, digest_of
from sciriff.run import spawn
from sciriff.run.messages import say
from sciriff.run.run_dir import RunDir
from sciriff.track.copied import is_copied

ERROR = "error: "
FINISH_TIMEOUT = 120.0
"""Seconds after the end of a run for the tracker to send what is left."""
UPLOAD_TIMEOUT = 3600.0
"""The same where artifacts are sent."""
STOP_TIMEOUT = 30.0
"""Seconds for the same after a stop signal, whose sender may not wait; the next start sends the rest."""
QUIET = 5.0
"""Seconds of waiting before a message says so."""


class Tracker:
    """The tracker's process in a with-block, if the run has one. With the whole run copied, `begin` starts it."""

    def __init__(self, config: Config, run: RunDir) -> None:
        self._wanted = config.log.tracker != "none" and bool({"train", "score"} & set(config.active_stages))
        self._patience = UPLOAD_TIMEOUT if config.log.artifacts else FINISH_TIMEOUT
        self._process: subprocess.Popen[str] | None = None
        self._read_to = 0
        """Bytes of its log that were checked for errors."""
        self._command = [sys.executable, "-m", "sciriff.track", str(run.root)]
        self._told = {DIGEST: digest_of(to_yaml(config).encode())}
        self._log = run.log("track")
        if not is_copied(config, run):
            self.begin()

    def begin(self) -> None:
        """Start following the run's files, before a stage changes any."""
        if self._process is not None or not self._wanted:
            return
        command = [*self._command, "--follow"]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as log:
            log.write(spawn.command_line(command, {}) + "\n")
            log.flush()
            self._read_to = log.tell()
            streams = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log}
            self._process = spawn.popen(command, self._told, told_otherwise=True, **streams)

    def tell(self) -> None:
        """Print the errors that the process has logged since the last call."""
        if self._process is None:
            return
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            new = log.read()
        lines = new[: new.rfind(b"\n") + 1]
        self._read_to += len(lines)
        for line in lines.decode(errors="replace").splitlines():
            if line.startswith(ERROR):
                _say(line.removeprefix(ERROR))

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Let the process send what is left, and report how it ended."""
        stopped = kind is not None and issubclass(kind, spawn.Stopped)
        if self._process is None:
            return
        status = _end(self._process, STOP_TIMEOUT if stopped else self._patience)
        self.tell()
        again = spawn.command_line([*self._command, TRUST], {})
        if status and stopped:  # a scheduler's signal to all processes also ends W&B's service
            _say(f"not everything was copied; the next start copies the rest, or `{again}`")
        elif status:
            _say(f"the tracker failed, the run did not; log: {self._log}; copy the run again with:", f"  {again}")


def _end(process: "subprocess.Popen[str]", timeout: float) -> int:
    """Signal the end of the run by closing standard input, wait at most `timeout` seconds, return the exit status."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=QUIET)
    _say(f"sending what is left, for at most {timeout:.0f} s")
    try:
        return process.wait(timeout=timeout - QUIET)
    except subprocess.TimeoutExpired:
        _say(f"gave up after {timeout:.0f} s")
        spawn.signal_group(process, signal.SIGKILL)
        return process.wait()


def _say(text: str, *others: str) -> None:
    say(f"track: {text}", *others)
