"""What Slurm says of a user's jobs: one call of squeue, which every cluster answers, with accounting or without."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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

RUN = re.compile(r"^(\d+)\) run=(.+?) job=\(", re.MULTILINE)
"""How an array's script (array.py) says which run each of its tasks is."""


PATIENCE = 60
"""Seconds to wait for an answer of Slurm's controller."""


class NoAnswer(Exception):
    """A command of Slurm's failed: its controller is down, or far."""


@dataclass(frozen=True)
class SlurmTask:
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


def tasks() -> dict[str, SlurmTask]:
    """The user's jobs and tasks by their ids: those that wait, run, or ended in the last minutes (MinJobAge of
    slurm.conf). NoAnswer with squeue's own words."""
    return parse(ask("squeue", "--me", "--noheader", "--array", "--states=all", f"--format={FIELDS}"))


def ask(*command: str) -> str:
    """Output of one of Slurm's commands. NoAnswer, with its own words, if it fails or says nothing for PATIENCE."""
    # Without SQUEUE_FORMAT, SQUEUE_STATES and the like, by which a person changes what squeue prints.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)
    except FileNotFoundError:
        raise NoAnswer(f"there is no {command[0]} here") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"{command[0]}: {error}") from None
    if result.returncode:
        words = " ".join((result.stderr or result.stdout).split())
        raise NoAnswer(words or f"{command[0]}: exit status {result.returncode}")
    return result.stdout


def parse(text: str) -> dict[str, SlurmTask]:
    """The tasks in what squeue printed."""
    rows = [SlurmTask(*line.split("|", 5)) for line in text.splitlines() if line.count("|") >= 5]
    return {task.id: task for task in rows}


def scripts_of(place: Path) -> Path:
    """Where the scripts and logs of a sweep's arrays are."""
    return place / "slurm"


def of_sweep(place: Path, tasks: Iterable[SlurmTask]) -> dict[str, SlurmTask]:
    """Run folder -> its task, of all that wait or run in Slurm with a script of this sweep. The scripts are the whole
    record of what was submitted: nothing is lost when the command that called sbatch dies before it hears the id."""
    found: dict[str, SlurmTask] = {}
    runs: dict[str, dict[str, str]] = {}
    for task in tasks:
        script = Path(task.script)
        if task.ended or script.parent.resolve() != scripts_of(place).resolve() or not script.is_file():
            continue
        if task.script not in runs:
            runs[task.script] = {number: shlex.split(run)[0] for number, run in RUN.findall(script.read_text())}
        if task.number in runs[task.script]:
            found[runs[task.script][task.number]] = task
    return found
