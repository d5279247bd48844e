"""What was submitted for a sweep, in its folder, so that the same command and `ls` find it again.

`runs/sweep-.../slurm/0001.sh` is the first array's script, `0001.json` says which run each of its tasks is. That is
written before sbatch is called and the array's id after it; where the id is missing, squeue knows the script.
"""

import contextlib
import fcntl
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sciriff.driver.slurm.queue import Task
from sciriff.run.user_error import UserError


@dataclass(frozen=True)
class Submitted:
    """A job of a sweep that was submitted."""

    number: int
    """Of the job in the sweep, and of the task in the array."""
    name: str
    run_dir: str


@dataclass(frozen=True)
class Submission:
    """One array."""

    script: Path
    jobs: tuple[Submitted, ...]
    array: str | None = None
    """Its id in Slurm; None until sbatch has told it."""

    @property
    def tasks(self) -> dict[int, str]:
        """Number of each job -> the id of its task."""
        assert self.array is not None
        return {job.number: f"{self.array}_{job.number}" for job in self.jobs}

    def forget(self) -> None:
        """Remove the record; the script stays for whoever wants to know what was refused."""
        self.script.with_suffix(".json").unlink()

    def write(self) -> None:
        path = self.script.with_suffix(".json")
        partial = path.with_suffix(".partial")
        values = {"array": self.array, "jobs": [asdict(job) for job in self.jobs]}
        partial.write_text(json.dumps(values, indent=1) + "\n")
        partial.replace(path)


def folder(place: Path) -> Path:
    """Where the scripts, records and logs of a sweep's arrays are."""
    return place / "slurm"


def next_script(place: Path) -> Path:
    """The name of the next array's script."""
    last = max((int(path.stem) for path in folder(place).glob("[0-9]*.sh")), default=0)
    return folder(place) / f"{last + 1:04d}.sh"


def submissions(place: Path) -> list[Submission]:
    """The arrays of a sweep, in their order. UserError names a record that cannot be read."""
    found = []
    for path in sorted(folder(place).glob("[0-9]*.json")):
        try:
            values = json.loads(path.read_text())
            jobs = tuple(Submitted(**job) for job in values["jobs"])
            found.append(Submission(path.with_suffix(".sh"), jobs, values["array"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not the record of a submission ({error!r}); remove it") from None
    return found


def alive(place: Path, tasks: Mapping[str, Task]) -> dict[str, Task]:
    """Run folder -> its task, of all that was submitted for a sweep and waits or runs in Slurm."""
    found = {}
    for submission in submissions(place):
        submission = with_id(submission, tasks.values())
        if submission.array is None:
            continue
        for job in submission.jobs:
            task = tasks.get(submission.tasks[job.number])
            if task is not None and not task.ended:
                found[job.run_dir] = task
    return found


def with_id(submission: Submission, tasks: Iterable[Task]) -> Submission:
    """The submission with the id that its script has in Slurm, where the command that called sbatch died before it
    could note that."""
    if submission.array is not None:
        return submission
    ids = [task.array for task in tasks if task.script == str(submission.script)]
    return replace(submission, array=ids[0]) if ids else submission


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Nobody else submits for this sweep meanwhile; a second terminal waits and then finds what the first submitted."""
    folder(place).mkdir(parents=True, exist_ok=True)
    with (folder(place) / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{place.name}: another command is submitting its jobs; waiting", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
