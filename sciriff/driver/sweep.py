"""The folder of a sweep, and the table and page at its end.

The folder is `runs/sweep-<what was typed>`. Jobs run one after the other in this process, or beside each other in
others (hydra/launcher=joblib, hydra/launcher=slurm), which inherit the folder's name through the environment.
"""

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from sciriff.driver.run_name import default_name, typed_overrides
from sciriff.driver.separate_runs import fixed, one_for_all, refuse_shared, shared
from sciriff.results import sweep_record
from sciriff.results.scores import read_summary
from sciriff.results.summary_table import mean_line
from sciriff.results.sweep_record import PAGE, Job, jobs
from sciriff.results.terminal_table import table_lines
from sciriff.run import spawn
from sciriff.run.locks import hold_or_refuse
from sciriff.run.number_format import clock
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

FOLDER, NUMBER = "SCIRIFF_SWEEP_DIR", "SCIRIFF_SWEEP_JOB"
"""Environment variables of a job: its sweep's folder and, if it has a process of its own (in Slurm), its number."""
LAUNCHER = "hydra_plugins.sciriff_slurm_launcher.SlurmLauncher"
"""The launcher whose jobs, and so their rows, outlive the command."""
_HELD = contextlib.ExitStack()
"""Locks that this process holds until its end."""
LAST = ("done", "failed")
"""Status of jobs that have ended by themselves."""
SEARCH = {"direction": "maximize", "max_failure_rate": 0.99}
"""Defaults of a search by Optuna, whose own minimise. A failed job ends it only when all that ran beside it failed."""
NO_DRY_RUN = (
    "dry_run=true does not go with hydra/sweeper=optuna, which chooses values by the scores of earlier jobs; "
    "without -m and the sweeper it prints the plan of one job"
)
NO_MEAN = "hydra/sweeper=optuna looks for the highest summary mean, and this job makes no scores"


class SweepNotBegun(BaseException):
    """Carries its cause out of SweepFolder. No Exception, of which Hydra (1.3) makes a warning there."""


class SweepFolder(Callback):
    """Hydra's hook (conf/config.yaml), which names and locks the folder of a sweep before its first job starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            _begin(config)
        except Exception as error:
            raise SweepNotBegun(str(error)) from error


def _begin(config: DictConfig) -> None:
    _refuse(config)
    if config.dry_run:  # has no jobs to record
        return
    folder = folder_of(config)
    if config.hydra.launcher.get("_target_") != LAUNCHER:
        folder.mkdir(parents=True, exist_ok=True)
        otherwise = f"{folder}: another command runs this sweep; when it has ended, this one runs what is not done"
        _HELD.enter_context(hold_or_refuse(folder / ".lock", otherwise))
        sweep_record.forget_all(folder)
    os.environ[FOLDER] = str(folder)
    typed = {override.partition("=")[0] for override in config.hydra.overrides.hydra}
    with read_write(config):
        config.hydra.sweep.dir = str(folder)  # for what a sweeper leaves, such as Optuna's best values
        if searches(config.hydra.sweeper):
            for key, value in SEARCH.items():
                if f"hydra.sweeper.{key}" not in typed:
                    config.hydra.sweeper[key] = value


def _refuse(config: DictConfig) -> None:
    """UserError where jobs of a sweep would be one run, or a search would have no scores, as far as is known before."""
    if searches(config.hydra.sweeper):
        if config.dry_run:
            raise UserError(NO_DRY_RUN)
        if key := fixed(typed_overrides(config.hydra)):
            raise UserError(one_for_all(key))
        return
    refuse_shared(GlobalHydra.instance().config_loader(), config)


def folder_of(config: DictConfig) -> Path:
    """The folder of the sweep that was composed."""
    name = f"sweep-{default_name(config.hydra)}"
    as_run = config.copy()
    as_run.name = name
    place = Path(as_run.run_dir).absolute()
    return place if name in place.name else place.with_name(name)  # run_dir need not have the name in it


def searches(sweeper: DictConfig) -> bool:
    """Whether Hydra's sweeper chooses values by the scores of earlier jobs."""
    return "optuna" in str(sweeper.get("_target_"))


def folder() -> Path | None:
    """The folder of the sweep under way; None outside of one."""
    return Path(os.environ[FOLDER]) if FOLDER in os.environ else None


def own_number() -> int | None:
    """Number in the sweep of the job that has this process for itself; None for any other process."""
    return int(os.environ[NUMBER]) if NUMBER in os.environ else None


def refuse_folder_of_another(place: Path, job: Job) -> None:
    """UserError where an earlier job of a search, with other values, had the same folder."""
    for other in jobs(place):
        if other.number < job.number and other.run_dir == job.run_dir and other.overrides != job.overrides:
            raise UserError(shared(job.run_dir, shlex.split(other.overrides), shlex.split(job.overrides)))


def has_failed_jobs() -> bool:
    """Whether a job of the sweep that this process ran has failed."""
    place = folder() if own_number() is None else None
    return place is not None and any(job.status == "failed" for job in jobs(place))


def table(found: list[Job]) -> list[str]:
    """Lines of a table of all jobs, and why some failed."""
    rows = [(job.name, job.status, clock(job.seconds), _mean(job)) for job in found]
    lines = table_lines(("job", "status", "time", "mean"), rows, right=("time",))
    failed = [job for job in found if job.status == "failed"]
    if failed:
        lines.append(f"{len(failed)} of {len(found)} jobs failed; the same command runs only what is not done:")
        for job in failed:
            lines.append(f"  {job.name}: {job.reason}")
            if job.log is not None:
                lines.append(f"    log: {job.log}")
    return lines


def make_page(place: Path) -> list[str]:
    """Write the page of the sweep in a child, which loads what this process does not, and return lines on where it is,
    or why there is none. spawn.Stopped when it was asked to stop."""
    command = [sys.executable, "-m", "sciriff.sweep_page", str(place)]
    log = place / "sweep_page.log"
    try:
        spawn.run("page", command, log)
    except spawn.ChildFailed as error:
        return [
            *f"the page of the sweep was not made: {error.reason}".split("\n"),
            f"  log: {log}",
            f"  {shlex.join(command)}",
        ]
    except OSError as error:
        return [f"the page of the sweep was not made: {error}"]
    return [f"page: {place / PAGE}"]


def _mean(job: Job) -> str:
    scores = RunDir(Path(job.run_dir)).scores
    if job.status != "done" or not scores.is_file():
        return ""
    try:
        return mean_line(read_summary(scores))
    except UserError:
        return f"{scores.name} cannot be read"
