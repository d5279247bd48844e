"""Run one child: its command starts its log, its progress becomes a bar, its failure an error with a reason."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from sciriff.run.messages import say
from sciriff.run.parent_death import die_with_parent
from sciriff.run.progress import LINE
from sciriff.run.visible import visible_line

TAIL = 15
"""Lines of a failed child's log that are shown."""
ASKS_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, and signals of schedulers before they take a machine away."""
SENT_TO_ALL = (signal.SIGTERM, signal.SIGUSR1)
"""Signals that a scheduler may send to every process of a job."""


class ChildFailed(Exception):
    """A child ended with a non-zero status. `reason` is its `error:` line, or the last lines of its log."""

    def __init__(self, name: str, status: int, reason: str, log: Path) -> None:
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        super().__init__(f"{name} failed ({how})")
        self.status = status
        self.reason = reason
        self.log = log


class Stopped(KeyboardInterrupt):
    """The run was asked to stop (Ctrl-C, SIGTERM or SIGUSR1), or lost a node, and its child has ended."""

    def __init__(self, *signals: int, reason: str | None = None) -> None:
        super().__init__(*signals)
        self.signals = signals
        """Signals received; none if the child got them directly, or stopped for another reason."""
        self.reason = reason


def stop_between_children(number: int, frame: FrameType | None) -> None:
    """Signal handler for ASKS_TO_STOP while no child runs."""
    raise Stopped(number)


def popen(
    command: list[str], environment: dict[str, str], told_otherwise: bool = False, **options: object
) -> "subprocess.Popen[str]":
    """Start a child in its own session, so that Ctrl-C does not reach it; it dies with this process. Schedulers signal
    all processes of a job at once: with `told_otherwise` the child ignores those signals and is stopped otherwise."""

    def prepare() -> None:
        die_with_parent()
        if told_otherwise:
            for number in SENT_TO_ALL:
                signal.signal(number, signal.SIG_IGN)

    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=prepare,  # bars start later; a thread that runs already waits for connections
        **options,  # type: ignore[call-overload]
    )


def command_line(command: list[str], environment: dict[str, str]) -> str:
    """Format a command so that it can be pasted into a shell."""
    return " ".join([*(f"{key}={shlex.quote(value)}" for key, value in environment.items()), shlex.join(command)])


def run(
    name: str,
    command: list[str],
    log: Path,
    environment: dict[str, str] | None = None,
    ask_to_stop: Callable[[], None] | None = None,
    unlogged: dict[str, str] | None = None,
) -> list[str]:
    """Run a child to its end and return the lines it printed, without its progress. ChildFailed if it fails.

    Lines are cleaned of what steers a terminal, in the log, too: libraries print words of strangers.

    Ctrl-C, SIGTERM and SIGUSR1 call `ask_to_stop` (or send it SIGTERM) and raise Stopped when it has ended. A second
    Ctrl-C or SIGTERM kills it. The log keeps earlier attempts, each below its command with the variables of
    `environment`; the child gets those of `unlogged` too.
    """
    environment = environment or {}
    log.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    tail: deque[str] = deque(maxlen=TAIL)
    with log.open("a", encoding="utf-8") as file:
        file.write(visible_line(command_line(command, environment)) + "\n")
        file.flush()
        variables, told = {**environment, **(unlogged or {})}, ask_to_stop is not None
        process = popen(command, variables, told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        with _killed_on_error(process), _forward_signals(process, ask_to_stop) as asked, _bar(name) as show:
            for line in process.stdout:
                line = visible_line(line.rstrip("\n"))
                file.write(line + "\n")
                file.flush()
                if match := LINE.match(line):
                    show(int(match[1]), int(match[2]), match[3])
                else:
                    lines.append(line)
                    tail.append(line)
            status = process.wait()
    if asked:
        raise Stopped(*asked)
    if status:
        errors = [line for line in lines if line.startswith("error: ")]
        raise ChildFailed(name, status, errors[-1].removeprefix("error: ") if errors else "\n".join(tail), log)
    return lines


@contextlib.contextmanager
def _killed_on_error(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    except BaseException:
        signal_group(process, signal.SIGKILL)
        process.wait()
        raise


@contextlib.contextmanager
def _forward_signals(process: "subprocess.Popen[str]", ask: Callable[[], None] | None) -> Iterator[list[int]]:
    """Pass requests to stop on to the child; yields the list of signals received."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        # Schedulers announce the end with SIGUSR1, and may repeat it, or send SIGTERM while a checkpoint is written.
        insists = number != signal.SIGUSR1 and any(before != signal.SIGUSR1 for before in received)
        received.append(number)
        if insists:
            say("stopping now")
            signal_group(process, signal.SIGKILL)
        elif ask is not None:
            say("stopping after this step; once more to stop at once")
            ask()
        else:
            signal_group(process, signal.SIGTERM)

    before = {number: signal.signal(number, handle) for number in ASKS_TO_STOP}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def signal_group(process: "subprocess.Popen[str]", number: int) -> None:
    """Signal a child and all processes of its session; it may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function that shows (done, total, text): a bar on a terminal, elsewhere a line every ten seconds."""
    if not sys.stderr.isatty():
        printed_at = time.monotonic()

        def line(done: int, total: int, text: str) -> None:
            nonlocal printed_at
            if time.monotonic() - printed_at >= 10:
                printed_at = time.monotonic()
                say(f"{name}: {done}/{total} {text}".rstrip())

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    name_column, text_column = TextColumn("{task.description:<8}"), TextColumn("{task.fields[text]}", markup=False)
    columns = (name_column, BarColumn(), MofNCompleteColumn(), text_column, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None, text="")
        yield lambda done, total, text: progress.update(task, completed=done, total=total, text=text)
