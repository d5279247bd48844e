"""Read the user's jobs from squeue, which every cluster has, with accounting or without."""

import re
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sciriff.run.slurm_command import ask

ENDED = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED"),
)
"""States from which a job does not return by itself. In all others it waits or runs."""
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT")
FIELDS = "%F|%K|%T|%r|%N|%o"
"""Array's id, task of the array (N/A), state, reason, nodes, script; the script is last, its path may have a bar."""
RUN = re.compile(r"^(\d+)\) run=(.+?) job=\(", re.MULTILINE)
"""The run of each task in an array's script (array.py)."""


@dataclass(frozen=True)
class SlurmTask:
    """A job, or a task of a job array, in Slurm."""

    array: str
    number: str
    """Number of the task; N/A for a job without an array."""
    state: str
    reason: str
    """Why it waits, or how it ended."""
    nodes: str
    script: str

    @property
    def id(self) -> str:
        """Id for scancel and scontrol."""
        return self.array if self.number == "N/A" else f"{self.array}_{self.number}"

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def status(self) -> str:
        """queued, running or ended."""
        return "ended" if self.ended else "running" if self.state in RUNNING else "queued"


def is_there() -> bool:
    """Return whether this machine has Slurm's commands."""
    return shutil.which("squeue") is not None


def tasks() -> dict[str, SlurmTask]:
    """Return the user's tasks by id: waiting, running, or ended minutes ago (MinJobAge). NoAnswer if squeue fails."""
    return parse(ask("squeue", "--me", "--noheader", "--array", "--states=all", f"--format={FIELDS}"))


def parse(text: str) -> dict[str, SlurmTask]:
    """Parse squeue's output."""
    rows = [SlurmTask(*line.split("|", 5)) for line in text.splitlines() if line.count("|") >= 5]
    return {task.id: task for task in rows}


def scripts_of(place: Path) -> Path:
    """Return the folder with the scripts and logs of a sweep's arrays."""
    return place / "slurm"


def of_sweep(place: Path, tasks: Iterable[SlurmTask]) -> dict[str, SlurmTask]:
    """Return run folder -> task for all that wait or run with a script of this sweep. The scripts alone record what was
    submitted: nothing is lost if the command that called sbatch dies before it gets the id."""
    runs: dict[str, SlurmTask] = {}
    alive = [task for task in tasks if not task.ended]
    for path in dict.fromkeys(task.script for task in alive):
        script = Path(path)
        if script.parent.resolve() == scripts_of(place).resolve() and script.is_file():
            folders = {number: shlex.split(run)[0] for number, run in RUN.findall(script.read_text())}
            runs |= {folders[task.number]: task for task in alive if task.script == path and task.number in folders}
    return runs
