"""Wait for the jobs of a sweep in Slurm: a line for each change, and a row for those that could not write their own."""

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from sciriff.driver import sweep
from sciriff.driver.slurm import queue
from sciriff.driver.slurm.queue import Task
from sciriff.results import sweep_record

FIRST_WAIT, LONGEST_WAIT = 2.0, 30.0
"""Seconds between two calls of squeue: the first after a change, more while nothing changes."""

SETTLE = 60.0
"""Seconds after which what was written on another node is seen here: file systems of clusters keep what they know of a
folder for as long."""

OFTEN = ("None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "")
"""Reasons to wait that need no word."""

BY_ITSELF = ("COMPLETED", "FAILED")
"""Last states of jobs whose driver may have had the time to write its row."""


class LeftRunning(Exception):
    """A person stopped looking; the message says what goes on and how to end that."""


def follow(place: Path, rows: Iterable[sweep_record.Job], ask: Callable[[], dict[str, Task]] = queue.tasks) -> None:
    """Wait until all these jobs, which are in Slurm, have ended and have rows that say how. LeftRunning when a person
    stops looking."""
    left = {row.number: row for row in rows}
    said: dict[int, str] = {}
    ended: dict[int, float] = {}
    wait, silent = FIRST_WAIT, False
    try:
        while left:
            try:
                known, silent = ask(), False
            except queue.NoAnswer as error:
                if not silent:
                    _say(f"Slurm does not answer ({error}); trying on, the jobs are not concerned")
                silent = True
                time.sleep(LONGEST_WAIT)
                continue
            changed = False
            for number, submitted in list(left.items()):
                task = submitted.slurm
                assert task is not None
                row, state = sweep_record.row(place, number) or submitted, known.get(task)
                if state is None or state.ended:
                    ended.setdefault(number, time.monotonic())
                else:
                    ended.pop(number, None)
                now = outcome(row, task, state, time.monotonic() - ended.get(number, time.monotonic()))
                if now is not None:
                    del left[number]
                    if now != row:
                        sweep.note(now)
                line = _ended_line(now) if now is not None else _line(row.name, task, state)
                if line and said.get(number) != line:
                    _say(line)
                    said[number], changed = line, True
            wait = FIRST_WAIT if changed else min(LONGEST_WAIT, 1.5 * wait)
            if left:
                time.sleep(wait)
    except KeyboardInterrupt:
        arrays = sorted({str(row.slurm).partition("_")[0] for row in left.values()})
        raise LeftRunning(
            f"the jobs go on in Slurm; `scancel {' '.join(arrays)}` ends them, and this follows them again:"
        ) from None


def outcome(row: sweep_record.Job, task: str, state: Task | None, silent: float) -> sweep_record.Job | None:
    """The row of a job that has ended, None while it may still change. `state` is what Slurm says, None where it does
    not know the job any more, and `silent` for how many seconds it has been so."""
    if state is not None and not state.ended:
        return None
    if row.status in sweep.LAST:
        return row
    last = state.state if state is not None else None
    if (last is None or last in BY_ITSELF) and silent < SETTLE:
        return None
    if row.status == "stopped" and last != "CANCELLED":
        reason = "it was stopped and not put back into the queue; its log says why"
    elif last is None:
        reason = "it is gone from Slurm, and its driver could not say why"
    elif last == "COMPLETED":
        reason = "it ended in Slurm without a word of its driver"
    else:
        assert state is not None
        why = f" ({state.reason})" if state.reason not in OFTEN else ""
        reason = f"ended by Slurm: {last}{why}"
    return replace(row, status="failed", reason=reason, slurm=task)


def _line(name: str, task: str, state: Task | None) -> str:
    if state is None or state.ended:
        return ""
    if state.status == "running":
        return f"{name}: running ({task} on {state.nodes})" if state.nodes else f"{name}: running ({task})"
    why = f": {state.reason}" if state.reason not in OFTEN else ""
    held = f"; `scontrol release {task}` lets it run" if "held" in state.reason.lower() else ""
    return f"{name}: queued ({task}){why}{held}"


def _ended_line(row: sweep_record.Job) -> str:
    return f"{row.name}: {row.status}" + (f": {row.reason}" if row.reason else "")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
