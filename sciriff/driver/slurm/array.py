"""The script of an array, a task for each job of a sweep, and its way into Slurm."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sciriff.config.slurm import SlurmConfig
from sciriff.driver.slurm.queue import NoAnswer, scripts_of
from sciriff.driver.slurm.sweep_jobs import SweepJob
from sciriff.driver.sweep import FOLDER, NUMBER
from sciriff.run.user_error import UserError

VARIABLES = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"


def script(settings: SlurmConfig, place: Path, jobs: Sequence[SweepJob], options: Sequence[str] = ()) -> str:
    """The text for sbatch. The number of a task is its job's in the sweep, its command line is `options`, which all
    jobs have, and its job's overrides."""
    # Hydra's options first: an override after one that itself follows an override is an "unrecognized argument".
    command = shlex.join([settings.python or sys.executable, "-m", "sciriff.train", *options])
    logs = shlex.quote(str(scripts_of(place)))
    # queue.of_sweep reads here which run a task is.
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
            "# Slurm writes all logs into one folder. Each has a second name in the folder of its run.",
            f'log={logs}/{VARIABLES}.log mine="$run/logs/slurm-{VARIABLES}.log"',
            'mkdir -p "$run/logs"',
            '[ "$log" -ef "$mine" ] || ln -f "$log" "$mine" 2>/dev/null || ln -sf "$log" "$mine"',
            "",
            f"export {FOLDER}={shlex.quote(str(place))} {NUMBER}=$SLURM_ARRAY_TASK_ID",
            *settings.setup,
            "",
            "# exec: so that this process is the driver, which Slurm's signal before the end of the time must reach.",
            f'exec {command} "${{job[@]}}" hydra.mode=RUN',
            "",
        ]
    )


def next_script(place: Path) -> Path:
    """The name of the sweep's next script: `slurm/0001.sh` in its folder, and so on."""
    last = max((int(path.stem) for path in scripts_of(place).glob("[0-9]*.sh")), default=0)
    return scripts_of(place) / f"{last + 1:04d}.sh"


def _options(settings: SlurmConfig, place: Path, jobs: Sequence[SweepJob]) -> list[str]:
    """What sbatch is told, in its own words."""
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
    """UserError on a machine that has no sbatch."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "hydra/launcher=slurm needs sbatch, and there is none here: type this on a machine of the cluster; "
            "without hydra/launcher the jobs run here, one after the other"
        )


def submit(path: Path) -> str:
    """Hand a script to Slurm and return the array's id. UserError with sbatch's own words when it is refused, NoAnswer
    when nothing is heard."""
    command = ["sbatch", "--parsable", str(path)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"sbatch {path} has not ended in two minutes") from None
    if result.returncode:
        words = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in result.stderr.splitlines()]
        raise UserError(f"sbatch refuses the jobs: {'; '.join(filter(None, words))} (the script: {path})")
    return result.stdout.strip().partition(";")[0]
