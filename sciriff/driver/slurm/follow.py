"""Wait for the jobs of a sweep in Slurm: print each change, and write the rows of jobs that could not write theirs."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from sciriff.driver import sweep
from sciriff.driver.slurm import queue
from sciriff.driver.slurm.queue import SlurmTask
from sciriff.results import sweep_record
from sciriff.results.sweep_record import Job
from sciriff.run.messages import say
from sciriff.run.slurm_command import NoAnswer

FIRST_WAIT, LONGEST_WAIT = 2.0, 30.0
"""Seconds between two calls of squeue: the first after a change, growing to the longest while nothing changes."""
SETTLE = 60.0
"""Seconds after which files written on another node are visible here: network file systems cache folders that long."""
COMMON = ("None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "")
"""Reasons to wait that are not printed."""
SLURM = -1
"""In place of a job's number: the line is about Slurm itself."""
BY_ITSELF = ("COMPLETED", "FAILED")
"""Final states of jobs whose driver may have had time to write its row."""


class LeftRunning(Exception):
    """The user stopped following jobs that go on; the message tells how to cancel them."""


def follow(place: Path, rows: Iterable[Job], tasks: Callable[[], dict[str, SlurmTask]] = queue.tasks) -> None:
    """Wait until all these jobs have ended in Slurm and have rows that tell how. LeftRunning after Ctrl-C."""
    unfinished = {row.number: row for row in rows}
    printed: dict[int, str] = {}
    ended_at: dict[int, float] = {}
    wait = FIRST_WAIT
    try:
        while unfinished:
            lines = {}
            try:
                known = tasks()
            except NoAnswer as error:
                lines[SLURM] = f"Slurm does not answer ({error}); trying on, the jobs are not concerned"
            else:
                printed.pop(SLURM, None)
                for number, submitted in list(unfinished.items()):
                    row, task = _row(place, submitted), known.get(str(submitted.slurm))
                    if task is not None and not task.ended:
                        ended_at.pop(number, None)
                        lines[number] = _line(row.name, task)
                    elif last := outcome(row, task, time.monotonic() - ended_at.setdefault(number, time.monotonic())):
                        del unfinished[number]
                        if last != row:
                            sweep_record.write(place, last)
                        lines[number] = f"{row.name}: {last.status}" + (f": {last.reason}" if last.reason else "")
            lines = {number: line for number, line in lines.items() if printed.get(number) != line}
            for line in lines.values():
                say(line)
            printed |= lines
            wait = FIRST_WAIT if lines else min(LONGEST_WAIT, 1.5 * wait)
            if unfinished:
                time.sleep(wait)
    except KeyboardInterrupt:
        arrays = sorted({str(row.slurm).partition("_")[0] for row in unfinished.values()})
        raise LeftRunning(
            f"the jobs go on in Slurm; `scancel {' '.join(arrays)}` ends them, and this follows them again:"
        ) from None


def _row(place: Path, submitted: Job) -> Job:
    """Return the row that the job has written in this submission; `submitted` if there is only an earlier one's."""
    row = sweep_record.row(place, submitted.number)
    return row if row is not None and row.slurm == submitted.slurm else submitted


def outcome(row: Job, task: SlurmTask | None, seconds: float) -> Job | None:
    """Row of a job ended, or unknown to Slurm (no `task`), for `seconds`; None while the row may still change."""
    if task is not None and not task.ended:
        return None
    if row.status in sweep.LAST:
        return row
    if (task is None or task.state in BY_ITSELF) and seconds < SETTLE:
        return None
    if row.status == "stopped" and (task is None or task.state != "CANCELLED"):
        reason = "it was stopped and not put back into the queue; its log says why"
    elif task is None:
        reason = "it is gone from Slurm, and its driver could not say why"
    elif task.state == "COMPLETED":
        reason = "it ended in Slurm without a word of its driver"
    else:
        reason = f"ended by Slurm: {task.state}" + (f" ({task.reason})" if task.reason not in COMMON else "")
    return replace(row, status="failed", reason=reason)


def _line(name: str, task: SlurmTask) -> str:
    if task.status == "running":
        return f"{name}: running ({task.id} on {task.nodes})" if task.nodes else f"{name}: running ({task.id})"
    why = f": {task.reason}" if task.reason not in COMMON else ""
    held = f"; `scontrol release {task.id}` lets it run" if "held" in task.reason.lower() else ""
    return f"{name}: queued ({task.id}){why}{held}"
