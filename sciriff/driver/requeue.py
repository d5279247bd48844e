"""Put an interrupted Slurm job back into the queue, so that it resumes by itself."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from sciriff.driver.slurm.queue import NoAnswer, ask
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir


class ProgressSinceStart:
    """Whether the runs have advanced since this start of the driver."""

    def __init__(self) -> None:
        self._at_start: dict[Path, object] = {}

    def begins(self, run: RunDir) -> None:
        """Record the state of a run before its first stage is started."""
        self._at_start.setdefault(run.root, _state(run))

    def made(self) -> bool:
        """Whether a run has advanced. True if none was begun here: jobs of a sweep may run in other processes."""
        return not self._at_start or any(_state(RunDir(root)) != before for root, before in self._at_start.items())


def _state(run: RunDir) -> tuple[list[str], list[str], int]:
    """State that the next start resumes from: finished stages, checkpoints and bytes of answers."""
    done = sorted(name for name, record in Manifest.read(run.manifest).stages.items() if record.status == "done")
    checkpoints = sorted(path.name for path in run.checkpoints.glob("step-*") if path.suffix != ".partial")
    rows = [run.predictions, run.paid_answers.parent, run.judgements]
    return done, checkpoints, sum(path.stat().st_size for folder in rows for path in folder.glob("*.jsonl"))


def after_stop(
    signals: Sequence[int], progress: ProgressSinceStart, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Put this driver's job back into the queue if it is a batch job that was stopped by Slurm and not by a person.
    Returns a message for the log; None outside of a batch job and after Ctrl-C.

    Call this last: Slurm ends the rest of the job at once. `signals` are those that the driver received; empty if only
    the training processes did, or a node was lost.
    """
    if "SLURM_JOB_ID" not in environment or signal.SIGINT in signals:
        return None
    job = job_id(environment)
    try:
        words = ask("scontrol", "--oneliner", "show", "job", job).split()
        facts = dict(word.split("=", 1) for word in words if "=" in word)
        if facts.get("BatchFlag") != "1":
            return None
        restarts = int(environment.get("SLURM_RESTART_COUNT", "0"))
        silent = _silent_nodes(environment)
        if int(facts.get("Restarts", "0")) > restarts:
            return f"{silent}Slurm has put job {job} back into the queue; it resumes when it starts again"
        out_of_time = facts.get("JobState") == "TIMEOUT" or facts.get("Reason") == "TimeLimit"
        if facts.get("JobState") != "RUNNING" and not out_of_time:
            ended = "was ended" if silent else "was cancelled"
            return f"{silent}job {job} {ended}, so it is not put back into the queue"
        if facts.get("Requeue") == "0":
            return f"job {job} is not put back into the queue: it was submitted with --no-requeue"
        if restarts and not progress.made():
            return (
                f"job {job} is not put back into the queue: it got no further since its last start; give it more time "
                f"(scontrol update JobId={job} TimeLimit=...), then: scontrol requeue {job}"
            )
        ask("scontrol", "requeue", job)
    except (NoAnswer, ValueError) as error:
        return f"job {job} is not put back into the queue: {error}; by hand: scontrol requeue {job}"
    return f"job {job} is back in the queue; it resumes when it starts again"


def job_id(environment: Mapping[str, str]) -> str:
    """The job's id for scontrol. For a task of an array, SLURM_JOB_ID may stand for the whole array."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment["SLURM_JOB_ID"]


def _silent_nodes(environment: Mapping[str, str]) -> str:
    """`node n2 does not answer Slurm; ` for each such node of the job."""
    nodes = environment.get("SLURM_JOB_NODELIST", "")
    lines = ask("sinfo", "--noheader", "--Node", f"--nodes={nodes}", "--format=%N %T").splitlines() if nodes else []
    states = dict(line.split(maxsplit=1) for line in lines)
    silent = [name for name, state in states.items() if state.strip().endswith("*") or state.startswith("down")]
    return "".join(f"node {name} does not answer Slurm; " for name in silent)
