"""Put the Slurm job back into the queue when it was stopped from outside, so that it goes on by itself."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

PATIENCE = 60
"""Seconds that Slurm's controller has to answer."""

Kept = tuple[object, ...]
"""Differs when a run folder has come further, in what the next start goes on from."""


class Progress:
    """Whether this start of the driver has got further than it found its runs."""

    def __init__(self) -> None:
        self._found: dict[Path, Kept] = {}

    def begins(self, run: RunDir) -> None:
        """Remember what a run has before a stage of it is started."""
        self._found.setdefault(run.root, _kept(run))

    def made(self) -> bool:
        """True as well where no run was begun here: jobs of a sweep may be in processes of their own."""
        return not self._found or any(_kept(RunDir(root)) != before for root, before in self._found.items())


def _kept(run: RunDir) -> Kept:
    done = sorted(name for name, record in Manifest.read(run.manifest).stages.items() if record.status == "done")
    checkpoints = sorted(path.name for path in run.checkpoints.glob("step-*") if path.suffix != ".partial")
    rows = [run.predictions, run.paid_answers.parent, run.judgements]
    return (done, checkpoints, sum(path.stat().st_size for folder in rows for path in folder.glob("*.jsonl")))


def after_stop(signals: Sequence[int], progress: Progress, environment: Mapping[str, str] = os.environ) -> str | None:
    """Put the job that this driver runs in back into the queue, if it is a batch job that Slurm and not a person stops.
    Returns what to say about it; None outside of a batch job and after Ctrl-C.

    To be called last: Slurm ends what is left of the job at once. `signals` are those that came; none of them where the
    training's processes were told directly, or a node was lost.
    """
    if "SLURM_JOB_ID" not in environment or signal.SIGINT in signals:
        return None
    job = _name(environment)
    try:
        facts = _facts(_ask("scontrol", "--oneliner", "show", "job", job))
        if facts.get("BatchFlag") != "1":
            return None
        restarts = int(environment.get("SLURM_RESTART_COUNT", "0"))
        silent = _silent_nodes(environment)
        if int(facts.get("Restarts", "0")) > restarts:
            return f"{silent}Slurm has put job {job} back into the queue; it goes on when it starts again"
        out_of_time = facts.get("JobState") == "TIMEOUT" or facts.get("Reason") == "TimeLimit"
        if facts.get("JobState") != "RUNNING" and not out_of_time:
            return (
                f"{silent}job {job} {'was ended' if silent else 'was cancelled'}, so it is not put back into the queue"
            )
        if facts.get("Requeue") == "0":
            return f"job {job} is not put back into the queue: it was submitted with --no-requeue"
        if restarts and not progress.made():
            return (
                f"job {job} is not put back into the queue: it got no further since its last start; give it more time "
                f"(scontrol update JobId={job} TimeLimit=...), then: scontrol requeue {job}"
            )
        _ask("scontrol", "requeue", job)
    except ValueError as error:
        return f"job {job} is not put back into the queue: {error}; by hand: scontrol requeue {job}"
    return f"job {job} is back in the queue; it goes on when it starts again"


def _name(environment: Mapping[str, str]) -> str:
    """The job as scontrol takes it. One task of an array has the number of the whole array, so tasks are named."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment["SLURM_JOB_ID"]


def _silent_nodes(environment: Mapping[str, str]) -> str:
    """`node n2 does not answer Slurm; ` for those of the job that do not."""
    nodes = environment.get("SLURM_JOB_NODELIST", "")
    lines = _ask("sinfo", "--noheader", "--Node", f"--nodes={nodes}", "--format=%N %T").splitlines() if nodes else []
    states = dict(line.split(maxsplit=1) for line in lines)
    silent = [name for name, state in states.items() if state.strip().endswith("*") or state.startswith("down")]
    return "".join(f"node {name} does not answer Slurm; " for name in silent)


def _facts(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _ask(*command: str) -> str:
    """What one of Slurm's commands prints. UserError where it cannot."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except FileNotFoundError:
        raise UserError(f"there is no {command[0]} here") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} has not answered for {PATIENCE} s") from None
    if result.returncode:
        raise UserError((result.stderr or result.stdout).strip() or f"{command[0]}: exit status {result.returncode}")
    return result.stdout
