"""The record of a sweep: a row for each of its jobs, in a file of its own in the sweep's folder."""

import json
import os
import shutil
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from sciriff.run.run_dir import RunDir
from sciriff.run.typed_json import read_json

PAGE = "sweep.html"
"""The page of a sweep, in its folder."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    number: int
    name: str
    run_dir: str
    overrides: str
    """Overrides of the job, as typed on a command line."""
    status: str = "running"
    """queued (in Slurm), running, done, failed or stopped; a job that was killed stays `running`."""
    seconds: float = 0.0
    reason: str | None = None
    """Why it failed."""
    slurm: str | None = None
    """Job id in Slurm."""

    @property
    def log(self) -> Path | None:
        return RunDir(Path(self.run_dir)).log(f"slurm-{self.slurm}") if self.slurm else None


def write(place: Path, job: Job) -> None:
    """Write the job's row, replacing its earlier one."""
    path = _row(place, job.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.partial")
    partial.write_text(json.dumps(asdict(job), indent=1) + "\n")
    partial.replace(path)


def row(place: Path, number: int) -> Job | None:
    """Read the row of one job; None if there is none, or if a shared file system does not show it yet."""
    try:
        return _read(_row(place, number))
    except OSError:
        return None


def jobs(place: Path) -> list[Job]:
    """Read the rows of a sweep, in the order of its jobs."""
    return [_read(path) for path in sorted(_rows(place).glob("*.json")) if path.is_file()]


def _read(path: Path) -> Job:
    return read_json(path, Job, "the row of a job", "remove it, and the sweep's command makes it again")


def forget_from(place: Path, number: int) -> None:
    """Remove the rows from this number on: jobs that the same command had under other files of conf/."""
    for job in jobs(place):
        if job.number >= number:
            _row(place, job.number).unlink(missing_ok=True)


def forget_all(place: Path) -> None:
    """Remove every row of a sweep."""
    shutil.rmtree(_rows(place), ignore_errors=True)


def _row(place: Path, number: int) -> Path:
    return _rows(place) / f"{number:04d}.json"


def _rows(place: Path) -> Path:
    return place / "jobs"
