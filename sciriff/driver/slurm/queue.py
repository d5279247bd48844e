"""What Slurm says of a user's jobs: one call of squeue, which every cluster answers, with accounting or without."""

import os
import shutil
import subprocess
from dataclasses import dataclass

ENDED = frozenset(
    (
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED"),
        *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED"),
    )
)
"""States from which a job does not come back by itself. All others are of jobs that wait or run."""

RUNNING = frozenset(("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"))

FIELDS = "%F|%K|%T|%r|%N|%o"
"""Array's id, task of the array (N/A), state, reason, nodes, script; the script last, for a path may have a bar."""


class NoAnswer(Exception):
    """squeue could not say anything: Slurm's controller is down, or far."""


@dataclass(frozen=True)
class Task:
    """A job, or a task of an array, as Slurm has it."""

    array: str
    number: str
    """Of the task; N/A where the job is no array."""
    state: str
    reason: str
    """Why it waits, or how it ended."""
    nodes: str
    script: str

    @property
    def id(self) -> str:
        """As scancel and scontrol take it."""
        return self.array if self.number == "N/A" else f"{self.array}_{self.number}"

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def status(self) -> str:
        """queued, running or ended."""
        return "ended" if self.ended else "running" if self.state in RUNNING else "queued"


def is_there() -> bool:
    """Whether this machine has Slurm's commands."""
    return shutil.which("squeue") is not None


def tasks() -> dict[str, Task]:
    """The user's jobs and tasks by their ids: those that wait, run, or ended in the last minutes (MinJobAge of
    slurm.conf). NoAnswer with squeue's own words."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", f"--format={FIELDS}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=_environment())
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"squeue: {error}") from None
    if result.returncode:
        raise NoAnswer(" ".join(result.stderr.split()) or f"squeue ended with {result.returncode}")
    return parse(result.stdout)


def parse(text: str) -> dict[str, Task]:
    """The tasks in what squeue printed."""
    rows = [Task(*line.split("|", 5)) for line in text.splitlines() if line.count("|") >= 5]
    return {task.id: task for task in rows}


def _environment() -> dict[str, str]:
    """Without SQUEUE_FORMAT, SQUEUE_STATES and the like, by which a person changes what it prints."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
