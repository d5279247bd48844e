"""One job of a sweep, with its row in the sweep's folder, and the table and page when all have ended."""

import os
import shlex
import time
from dataclasses import replace
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sciriff.driver import pipeline, sweep
from sciriff.driver.job import job
from sciriff.driver.requeue import ProgressSinceStart, job_id
from sciriff.driver.run_name import typed_overrides
from sciriff.results import sweep_record
from sciriff.run import spawn
from sciriff.run.messages import say_error, show
from sciriff.run.nodes import cluster
from sciriff.run.user_error import UserError

ONE_FAILED = "a job of the sweep failed; the others went on"


def job_of_sweep(composed: DictConfig, progress: ProgressSinceStart) -> float | None:
    """Run one job of a sweep and keep its row. Its failure leaves the jobs after it running; Stopped ends the sweep."""
    hydra_config, own_number, place = HydraConfig.get(), sweep.own_number(), sweep.folder()
    if composed.dry_run:
        return job(composed, progress)
    if cluster.here().by_hand:
        raise UserError("NODES and NODE_RANK are for a single run: a sweep (-m) over several nodes needs Slurm")
    assert place is not None, "SweepFolder names it before a job starts"
    if composed.log.group is None:
        composed.log.group = place.name
    number = hydra_config.job.num if own_number is None else own_number
    run_dir, overrides = str(Path(composed.run_dir).absolute()), shlex.join(typed_overrides(hydra_config))
    slurm = None if own_number is None else job_id(os.environ)
    row = sweep_record.Job(number, composed.name, run_dir, overrides, slurm=slurm)
    before = sweep_record.row(place, number)
    if before is not None and before.slurm and before.slurm == row.slurm:  # requeued
        row = replace(row, seconds=before.seconds)
    started = time.monotonic() - row.seconds

    def end(status: str, reason: str | None = None) -> None:
        seconds = round(time.monotonic() - started, 1)
        sweep_record.write(place, replace(row, status=status, seconds=seconds, reason=reason))

    sweep_record.write(place, row)
    try:
        if own_number is None:
            sweep.refuse_folder_of_another(place, row)
        mean = job(composed, progress)
        if mean is None and sweep.searches(hydra_config.sweeper):
            raise UserError(sweep.NO_MEAN)
    except (UserError, OSError, pipeline.RunFailed) as error:
        say_error(error, about=f"{row.name}: ")
        first, _, rest = str(error).partition("\n")
        end("failed", f"{first} {rest.partition(chr(10))[0].strip(' -')}" if first.endswith(":") and rest else first)
        raise pipeline.RunFailed(ONE_FAILED if own_number is None else "a job of the sweep failed") from None
    except spawn.Stopped:
        end("stopped")
        raise
    end("done")
    return mean


def refuse_launcher_without_sweep(hydra_config: HydraConf) -> None:
    """UserError where Slurm was chosen for a single run, which no launcher of Hydra's ever sees."""
    if hydra_config.launcher.get("_target_") == sweep.LAUNCHER and sweep.own_number() is None:
        raise UserError(
            "this launcher takes sweeps: add -m, and one run is a sweep of one; or sbatch launch/slurm.sbatch ..."
        )


def say_of_sweep(page: bool) -> None:
    """Print the table of the sweep that this process ran, and make its page."""
    place = sweep.folder() if sweep.own_number() is None else None
    if place is not None and (found := sweep_record.jobs(place)):
        show(*sweep.table(found))
        if page:
            show(*sweep.make_page(place))
