"""Wait for the jobs of a sweep in Slurm: a line for each change, and a row for those that could not write their own."""

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from sciriff.driver import sweep
from sciriff.driver.slurm import queue
from sciriff.driver.slurm.queue import SlurmTask
from sciriff.results import sweep_record
from sciriff.results.sweep_record import Job

FIRST_WAIT, LONGEST_WAIT = 2.0, 30.0
"""Seconds between two calls of squeue: the first after a change, more while nothing changes."""

SETTLE = 60.0
"""Seconds after which what was written on another node is seen here: file systems of clusters keep what they know of a
folder for as long."""

OFTEN = ("None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "")
"""Reasons to wait that need no word."""

SILENCE = -1
"""In place of a job's number: what is said of Slurm itself."""

BY_ITSELF = ("COMPLETED", "FAILED")
"""Last states of jobs whose driver may have had the time to write its row."""


class LeftRunning(Exception):
    """A person stopped looking; the message says what goes on and how to end that."""


def follow(place: Path, rows: Iterable[Job], ask: Callable[[], dict[str, SlurmTask]] = queue.tasks) -> None:
    """Wait until all these jobs, which are in Slurm, have ended and have rows that say how. LeftRunning when a person
    stops looking."""
    left = {row.number: row for row in rows}
    said: dict[int, str] = {}
    ended: dict[int, float] = {}
    wait = FIRST_WAIT
    try:
        while left:
            news = {}
            try:
                known = ask()
            except queue.NoAnswer as error:
                news[SILENCE] = f"Slurm does not answer ({error}); trying on, the jobs are not concerned"
            else:
                said.pop(SILENCE, None)
                for number, submitted in list(left.items()):
                    row, state = _row(place, submitted), known.get(str(submitted.slurm))
                    if state is not None and not state.ended:
                        ended.pop(number, None)
                        news[number] = _line(row.name, state)
                    elif last := outcome(row, state, time.monotonic() - ended.setdefault(number, time.monotonic())):
                        del left[number]
                        if last != row:
                            sweep_record.write(place, last)
                        news[number] = f"{row.name}: {last.status}" + (f": {last.reason}" if last.reason else "")
            news = {number: line for number, line in news.items() if said.get(number) != line}
            for line in news.values():
                print(line, file=sys.stderr, flush=True)
            said |= news
            wait = FIRST_WAIT if news else min(LONGEST_WAIT, 1.5 * wait)
            if left:
                time.sleep(wait)
    except KeyboardInterrupt:
        arrays = sorted({str(row.slurm).partition("_")[0] for row in left.values()})
        raise LeftRunning(
            f"the jobs go on in Slurm; `scancel {' '.join(arrays)}` ends them, and this follows them again:"
        ) from None


def _row(place: Path, submitted: Job) -> Job:
    """The job's row, where it is of this submission, and not of an earlier one."""
    row = sweep_record.row(place, submitted.number)
    return row if row is not None and row.slurm == submitted.slurm else submitted


def outcome(row: Job, state: SlurmTask | None, silent: float) -> Job | None:
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
    return replace(row, status="failed", reason=reason)


def _line(name: str, task: SlurmTask) -> str:
    if task.status == "running":
        return f"{name}: running ({task.id} on {task.nodes})" if task.nodes else f"{name}: running ({task.id})"
    why = f": {task.reason}" if task.reason not in OFTEN else ""
    held = f"; `scontrol release {task.id}` lets it run" if "held" in task.reason.lower() else ""
    return f"{name}: queued ({task.id}){why}{held}"
