"""The entry: compose the config, check it, and run the stages. `python -m sciriff.train --help`"""

import signal

if __name__ == "__main__":  # a Ctrl-C before main() has handlers ends the imports without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import shlex
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sciriff.config import Config, as_dict, conf_dir
from sciriff.config.registration import register
from sciriff.data.saved_answers import models_below
from sciriff.driver import compose_error, pipeline, plan, preflight, sweep
from sciriff.driver.composed import checked, untrained_config, wants_untrained, with_beside
from sciriff.driver.requeue import Progress, after_stop
from sciriff.driver.run_name import default_name, typed_overrides
from sciriff.driver.slurm.follow import LeftRunning
from sciriff.results import sweep_record
from sciriff.run import spawn
from sciriff.run.nodes import cluster, without_slurm
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.stage import USER_ERROR

ONE_FAILED = "a job of the sweep failed; the others went on"


def this_command() -> str:
    """The command that was typed, for people who must type it again."""
    return shlex.join([_python(), "-m", "sciriff.train", *sys.argv[1:]])


def _python() -> str:
    """What starts this interpreter in the shell that this command was typed in."""
    here, found = Path(sys.executable), shutil.which("python")
    # Python in an environment is but a link, so that its folder too must be the same.
    if found and Path(found).resolve() == here.resolve() and Path(found).parent.resolve() == here.parent.resolve():
        return "python"
    return str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here)


def job(composed: DictConfig, progress: Progress) -> float | None:
    """One run, or one of a sweep. Returns the summary mean (0-1), which a sweeper can maximise."""
    config = checked(composed)
    planned = plan.make(config)
    if config.dry_run:
        problems = [f"problem   {problem}" for problem in preflight.problems(config, planned)]
        print("\n".join([*plan.lines(config, planned), *problems]))
        return None
    preflight.refuse(config, planned)
    nodes = cluster.here()
    if not nodes.by_hand:
        return run_job(config, progress)
    run = RunDir(Path(config.run_dir))
    if nodes.rank > 0:
        without_slurm.follow(nodes, run, as_dict(config), lambda order: pipeline.take_part(order, nodes))
        return None
    with without_slurm.lead(nodes, run, as_dict(config)):
        return run_job(config, progress)


def run_job(config: Config, progress: Progress) -> float | None:
    """The run of a config, on the node that has the driver."""
    print(f"{config.name}: {', '.join(config.active_stages)} in {config.run_dir}", file=sys.stderr, flush=True)
    if config.predictions and (models := models_below(Path(config.predictions))):
        pipeline.run_each_model(config, models, again=this_command(), progress=progress)
        return None
    if wants_untrained(config):
        config = beside_untrained(config, progress)
    return pipeline.run(config, again=this_command(), progress=progress)


def beside_untrained(config: Config, progress: Progress) -> Config:
    """The config with the run of the untrained model in its report, once that run is finished."""
    before = untrained_config(config, typed_overrides(HydraConfig.get()))
    print(f"{before.name}: {', '.join(before.active_stages)} in {before.run_dir}", file=sys.stderr, flush=True)
    pipeline.run(before, again=this_command(), progress=progress, wait=True)
    return with_beside(config, before)


def job_of_sweep(composed: DictConfig, progress: Progress) -> float | None:
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


def compose_and_run(progress: Progress) -> None:
    """Let Hydra compose what was typed, and run it: one job, or a sweep with its table and page at the end."""
    errors: list[Exception] = []

    def entry(composed: DictConfig) -> float | None:
        hydra_config = HydraConfig.get()
        if composed.name is None:
            composed.name = default_name(hydra_config)
        if hydra_config.mode == RunMode.MULTIRUN:
            return job_of_sweep(composed, progress)
        try:
            refuse_launcher_without_sweep(hydra_config)
            return job(composed, progress) if sweep.own_number() is None else job_of_sweep(composed, progress)
        except (UserError, OSError, pipeline.RunFailed, without_slurm.NodeFailed) as error:
            # raised again below, outside Hydra, which would print a line of its own
            errors.append(error)
            return None

    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(entry)()
    except sweep.Refused as refused:
        raise UserError(str(refused)) from None
    except (UserError, OSError):  # before any job began
        raise
    except BaseException as error:  # after Ctrl-C nobody waits for a page
        say_of_sweep(page=not isinstance(error, (LeftRunning, KeyboardInterrupt)))
        raise
    say_of_sweep(page=True)
    if errors:
        raise errors[0]
    if sweep.has_failed_jobs():  # Optuna goes on with other values
        raise pipeline.RunFailed(ONE_FAILED)


def exit_status(error: BaseException, progress: Progress) -> int:
    """Say why the command ends, and with which status: 1 a stage failed, 2 a user's mistake, 130 stopped. An error of
    ours is raised again."""
    if line := compose_error.in_hydra(error, sys.argv[1:]):
        _say(f"error: {line}")
        return USER_ERROR
    match error:
        case LeftRunning():
            _say(f"{error}\n  {this_command()}")
            return 130
        case spawn.Stopped():
            for number in spawn.ASKS_TO_STOP:
                signal.signal(number, signal.SIG_IGN)
            if error.reason:
                _say(f"error: {error.reason}")
            _say(f"stopped; what is finished is kept, and this goes on from there:\n  {this_command()}")
            if said := after_stop(error.signals, progress):
                _say(said)
            return 130
        case pipeline.RunFailed() | without_slurm.NodeFailed():
            _say(f"error: {error}")
            return 1
        case RuntimeError() if "Study.stop" in str(error) and sweep.has_failed_jobs():
            # How Optuna's sweeper ends (1.3) when the last job of a grid has failed; all others have ended then.
            _say(f"error: {ONE_FAILED}")
            return 1
        case HydraException() | OmegaConfBaseException():
            _say(f"error: {compose_error.explain(error)}")
            return USER_ERROR
        case UserError() | OSError():
            _say(f"error: {error}")
            return USER_ERROR
    raise error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run the command line. Returns the exit status: 0, or that of what went wrong."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here instead of being printed by Hydra
    progress = Progress()
    try:
        for number in spawn.ASKS_TO_STOP:
            signal.signal(number, spawn.stop_between_children)  # while a child runs, spawn.run has a handler of its own
        register()
        compose_and_run(progress)
    except BaseException as error:
        return exit_status(error, progress)
    return 0


if __name__ == "__main__":
    sys.exit(main())
