"""Run workers beside each other, one process a task; kill one whose row takes too long."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sciriff.recreate.worker import AT, ERROR, NOT_AT_HAND, place_of
from sciriff.run.spawn import popen, signal_group
from sciriff.run.visible import visible_line

LOOK = 0.1
"""Seconds between two looks at the workers."""
WALL = 20
"""A row may take this many times the processor's seconds by the clock, on a machine that is busy with other things."""
LOG = "log"
NO_MEMORY = "memory allocation"
"""What libraries in Rust say before they end a process; Python's own MemoryError is the worker's to report."""
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Job:
    """A task to build."""

    task: str
    file: Path
    folder: Path


@dataclass(frozen=True)
class Problem:
    """Why a task was not built."""

    line: str
    not_at_hand: bool = False


class _Worker:
    def __init__(self, job: Job, memory_gb: float, environment: dict[str, str]) -> None:
        self.job, self._memory_gb = job, memory_gb
        for name in (ERROR, AT):  # of an earlier worker
            (job.folder / name).unlink(missing_ok=True)
        self._log = (job.folder / LOG).open("w")
        command = [sys.executable, "-m", "sciriff.recreate.worker", str(job.folder), f"{memory_gb:g}"]
        self.process = popen(command, environment, stdout=self._log, stderr=subprocess.STDOUT)
        self._count = -1
        self._since = self._cpu_since = 0.0

    def problem(self, row_seconds: float) -> Problem | None:
        """Return why this worker must end, if so."""
        count, place = place_of(self.job.folder / AT)
        now, cpu = time.monotonic(), _processor_seconds(self.process.pid)
        if count != self._count:
            self._count, self._since, self._cpu_since = count, now, cpu
            return None
        if cpu - self._cpu_since > row_seconds or now - self._since > WALL * row_seconds:
            return Problem(
                f"{self.job.file}: {place or 'the start'} takes more than recreate.row_seconds={row_seconds:g}"
            )
        return None

    def result(self) -> Problem | None:
        """Return the line that says why the task failed, or None."""
        self._log.close()
        status = self.process.returncode
        if status == 0:
            return None
        error = self.job.folder / ERROR
        if error.is_file():
            return Problem(error.read_text(encoding="utf-8"), not_at_hand=status == NOT_AT_HAND)
        place = place_of(self.job.folder / AT)[1] or "its start"
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        log = (self.job.folder / LOG).read_text(errors="replace").strip()
        if NO_MEMORY in log:
            return Problem(f"{self.job.file}: {place} needs more than recreate.memory_gb={self._memory_gb:g} gigabytes")
        last = log.rpartition("\n")[2][:200]
        if status == -signal.SIGKILL:  # by whom, nothing says
            last = "the machine may be short of memory; fewer recreate.workers need less at a time"
        return Problem(
            f"{self.job.file}: the worker ended at {place} ({how}){f': {visible_line(last)}' if last else ''}"
        )

    def kill(self) -> None:
        signal_group(self.process, signal.SIGKILL)
        self.process.wait()
        self._log.close()


Ended = Callable[[Job, Problem | None], None]
"""Called with each job as it ends, and why it was not built."""


def run(jobs: Sequence[Job], at_once: int, memory_gb: float, row_seconds: float, ended: Ended) -> None:
    """Build all jobs, `at_once` at a time."""
    threads = {**QUIET, "RAYON_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // at_once))}
    waiting, working = list(jobs), dict[str, _Worker]()
    with _killing(working):
        while waiting or working:
            while waiting and len(working) < at_once:
                job = waiting.pop(0)
                working[job.task] = _Worker(job, memory_gb, threads)
            time.sleep(LOOK)
            for worker in list(working.values()):
                if worker.process.poll() is not None:
                    del working[worker.job.task]
                    ended(worker.job, worker.result())
                elif problem := worker.problem(row_seconds):
                    worker.kill()
                    del working[worker.job.task]
                    ended(worker.job, problem)


@contextlib.contextmanager
def _killing(working: dict[str, _Worker]) -> Iterator[None]:
    try:
        yield
    finally:
        for worker in working.values():
            worker.kill()


def _processor_seconds(pid: int) -> float:
    """Seconds of processors that a process has used; of the clock where Linux's /proc is missing."""
    try:
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return time.monotonic() if sys.platform != "linux" else 0.0
