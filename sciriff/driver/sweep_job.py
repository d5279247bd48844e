"""One job of a sweep, with its row in the sweep's folder, and the table and page when all have ended."""

import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sciriff.driver import pipeline, sweep
from sciriff.driver.job import job
from sciriff.driver.requeue import ProgressSinceStart
from sciriff.driver.run_name import typed_overrides
from sciriff.results import sweep_record
from sciriff.run import spawn
from sciriff.run.nodes import cluster
from sciriff.run.user_error import UserError

ONE_FAILED = "a job of the sweep failed; the others went on"


def job_of_sweep(composed: DictConfig, progress: ProgressSinceStart) -> float | None:
    """One job of a sweep, with its row in the sweep's folder. A failure is told when it happens, so that the jobs after
    it run; being asked to stop ends the sweep, which Stopped does as a KeyboardInterrupt."""
    hydra_config = HydraConfig.get()
    overrides = typed_overrides(hydra_config)
    if composed.dry_run:
        return job(composed, progress)
    if cluster.here().by_hand:
        raise UserError("NODES and NODE_RANK are for a single run: a sweep (-m) over several nodes needs Slurm")
    place = sweep.folder()
    assert place is not None
    if composed.log.group is None:
        composed.log.group = place.name
    run_dir = str(Path(composed.run_dir).absolute())
    number = sweep.own_number()
    if number is None:
        number = hydra_config.job.num
    row = sweep_record.Job(number, composed.name, run_dir, shlex.join(overrides), slurm=sweep.own_slurm_id())
    before = sweep_record.row(place, number)
    if before is not None and before.slurm and before.slurm == row.slurm:  # requeued
        row = replace(row, seconds=before.seconds)
    sweep.note(row)
    started = time.monotonic() - row.seconds
    try:
        if sweep.own_number() is None:
            sweep.refuse_folder_of_another(place, row)
        mean = _objective(job(composed, progress))
    except (UserError, OSError, pipeline.RunFailed) as error:
        print(f"error: {row.name}: {error}", file=sys.stderr, flush=True)
        sweep.note(sweep.ended(row, "failed", started, sweep.in_one_line(str(error))))
        raise pipeline.RunFailed(ONE_FAILED if sweep.own_number() is None else "a job of the sweep failed") from None
    except spawn.Stopped:
        sweep.note(sweep.ended(row, "stopped", started))
        raise
    sweep.note(sweep.ended(row, "done", started))
    return mean


def _objective(mean: float | None) -> float | None:
    """The mean as a sweeper takes it. UserError where it searches for the highest and there is none."""
    if mean is None and sweep.searches(HydraConfig.get().sweeper):
        raise UserError(sweep.NO_MEAN)
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
        print("\n".join(sweep.table(found)), flush=True)
        if page:
            print("\n".join(sweep.make_page(place)), flush=True)
