"""Write the script of a job array, with a task for each job of a sweep, and submit it."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from sciriff.config.slurm import SlurmConfig
from sciriff.driver.slurm.queue import scripts_of
from sciriff.driver.slurm.sweep_jobs import SweepJob
from sciriff.driver.sweep import FOLDER, NUMBER
from sciriff.run.slurm_command import CommandFailed, ask
from sciriff.run.user_error import UserError

VARIABLES = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"


def script(settings: SlurmConfig, place: Path, jobs: Sequence[SweepJob], options: Sequence[str] = ()) -> str:
    """Return the script for sbatch. A task has its job's number; its command line is `options` and job's overrides."""
    # Hydra's options first: after an override they end its list, and a later override is an "unrecognized argument".
    command = shlex.join([settings.python or sys.executable, "-m", "sciriff.train", *options])
    logs = shlex.quote(str(scripts_of(place)))
    # queue.of_sweep reads the run of a task here.
    cases = [f"{job.number}) run={shlex.quote(job.run_dir)} job=({shlex.join(job.for_the_node)}) ;;" for job in jobs]
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            f"# Jobs of {place.name}; `sbatch` of this file submits them all again.",
            *(f"#SBATCH {option}" for option in _options(settings, place, jobs)),
            "set -eo pipefail",
            "",
            "case $SLURM_ARRAY_TASK_ID in",
            *cases,
            "esac",
            "",
            "# Slurm writes all logs into one folder. Link each into the folder of its run.",
            f'log={logs}/{VARIABLES}.log mine="$run/logs/slurm-{VARIABLES}.log"',
            'mkdir -p "$run/logs"',
            '[ "$log" -ef "$mine" ] || ln -f "$log" "$mine" 2>/dev/null || ln -sf "$log" "$mine"',
            "",
            f"export {FOLDER}={shlex.quote(str(place))} {NUMBER}=$SLURM_ARRAY_TASK_ID",
            *settings.setup,
            "",
            "# exec: Slurm's signal before the time limit goes to this process, which must be the driver.",
            f'exec {command} "${{job[@]}}" hydra.mode=RUN',
            "",
        ]
    )


def next_script(place: Path) -> Path:
    """Return the path of the sweep's next script: `slurm/0001.sh` in its folder, then 0002.sh."""
    last = max((int(path.stem) for path in scripts_of(place).glob("[0-9]*.sh")), default=0)
    return scripts_of(place) / f"{last + 1:04d}.sh"


def _options(settings: SlurmConfig, place: Path, jobs: Sequence[SweepJob]) -> list[str]:
    limit = f"%{settings.at_once}" if settings.at_once is not None else ""
    values = {
        "job-name": place.name,
        "array": ",".join(str(job.number) for job in jobs) + limit,
        "nodes": settings.nodes,
        "ntasks-per-node": 1,
        "time": settings.time,
        "account": settings.account,
        "partition": settings.partition,
        "qos": settings.qos,
        "gpus-per-node": settings.gpus_per_node,
        "cpus-per-task": settings.cpus_per_task,
        "mem": settings.mem,
        "signal": f"B:USR1@{settings.signal}",
        "open-mode": "append",
        "chdir": str(Path.cwd()),
        "output": f"{scripts_of(place)}/".replace("%", "%%") + "%A_%a.log",
    }
    return [
        *(f"--{name}={shlex.quote(str(value))}" for name, value in values.items() if value is not None),
        *(["--exclusive"] if settings.exclusive else []),
        "--requeue",
        *(shlex.quote(option) for option in settings.sbatch),
    ]


def refuse_without_slurm() -> None:
    """Raise UserError on a machine without sbatch."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "hydra/launcher=slurm needs sbatch, and there is none here: type this on a machine of the cluster; "
            "without hydra/launcher the jobs run here, one after the other"
        )


def submit(path: Path) -> str:
    """Submit a script and return the array's id. UserError if sbatch refuses the jobs, NoAnswer if it is silent."""
    try:
        return ask("sbatch", "--parsable", str(path), patience=120).strip().partition(";")[0]
    except CommandFailed as error:
        raise UserError(f"sbatch refuses the jobs: {error} (the script: {path})") from None
