"""The entry: compose the config, check it, and run the stages. `python -m sciriff.train --help`"""

import signal

if __name__ == "__main__":  # a Ctrl-C before main() has handlers ends the imports without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import sys
from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sciriff.config import compose_error, conf_dir
from sciriff.config.registration import composing, register
from sciriff.driver import sweep
from sciriff.driver.command_line import this_command
from sciriff.driver.job import job
from sciriff.driver.pipeline import RunFailed
from sciriff.driver.requeue import ProgressSinceStart, after_stop
from sciriff.driver.run_name import default_name
from sciriff.driver.slurm.follow import LeftRunning
from sciriff.driver.sweep_job import ONE_FAILED, job_of_sweep, refuse_launcher_without_sweep, say_of_sweep
from sciriff.run import known_errors, spawn
from sciriff.run.arguments import refuse_control_characters
from sciriff.run.messages import say, say_error, say_traceback
from sciriff.run.nodes.without_slurm import NodeFailed
from sciriff.run.safe_path import take_no_modules_from_here
from sciriff.run.user_error import UserError
from sciriff.stage import USER_ERROR


def compose_and_run(progress: ProgressSinceStart) -> None:
    """Let Hydra compose what was typed and run it: one job, or a sweep with table and page at the end."""
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
        except (UserError, OSError, RunFailed, NodeFailed) as error:
            errors.append(error)  # raised below, outside Hydra, which would print a line of its own
            return None

    try:
        register()
        with composing():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(entry)()
    except sweep.SweepNotBegun as error:
        raise error.__cause__ or error from None
    except (UserError, OSError):  # before any job began
        raise
    except BaseException as error:  # after Ctrl-C nobody waits for a page
        say_of_sweep(page=not isinstance(error, (LeftRunning, KeyboardInterrupt)))
        raise
    say_of_sweep(page=True)
    if errors:
        raise errors[0]
    if sweep.has_failed_jobs():  # Optuna goes on with other values
        raise RunFailed(ONE_FAILED)


def exit_status(error: BaseException, progress: ProgressSinceStart) -> int:
    """Print why the command ends; return 1 for a failed stage, 2 for a user's mistake, 130 if stopped. Raise bugs."""
    if line := compose_error.in_hydra(error, sys.argv[1:]):
        say_error(line)
        return USER_ERROR
    match error:
        case LeftRunning():
            say(error, f"  {this_command()}")
            return 130
        case spawn.Stopped():
            for number in spawn.ASKS_TO_STOP:
                signal.signal(number, signal.SIG_IGN)
            if error.reason:
                say_error(error.reason)
            say("stopped; what is finished is kept. Resume with:", f"  {this_command()}")
            if said := after_stop(error.signals, progress):
                say(said)
            return 130
        case RunFailed() | NodeFailed():
            say_error(error)
            return 1
        case RuntimeError() if known_errors.STUDY_STOPPED.search(error) and sweep.has_failed_jobs():
            say_error(ONE_FAILED)
            return 1
        case HydraException() | OmegaConfBaseException():  # first, for Hydra has OSErrors of its own
            say_error(compose_error.explain(error))
            return USER_ERROR
        case UserError() | OSError():
            say_error(error)
            return USER_ERROR
    raise error


def as_one_key(typed: str) -> str:
    """Write `predictions.filter=NAME` as the key that it sets: `predictions` itself is a folder, and not a section."""
    return f"predictions_filter={typed.partition('=')[2]}" if typed.startswith("predictions.filter=") else typed


WITH_VALUE = ("-c", "--cfg", "-cd", "--config-dir", "-cn", "--config-name", "-cp", "--config-path", "-p", "--package")
"""Options of Hydra that the next word belongs to."""


def options_first(typed: Sequence[str]) -> list[str]:
    """Put options such as -m before the keys: the parser of Hydra refuses one that stands between two keys."""
    options: list[str] = []
    keys: list[str] = []
    for before, word in zip(["", *typed], typed, strict=False):
        (options if word.startswith("-") or before in WITH_VALUE else keys).append(word)
    return options + keys


def main() -> int:
    sys.argv[1:] = options_first([as_one_key(word) for word in sys.argv[1:]])
    sys.excepthook = say_traceback
    take_no_modules_from_here()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here instead of being printed by Hydra
    progress = ProgressSinceStart()
    try:
        for number in spawn.ASKS_TO_STOP:
            signal.signal(number, spawn.stop_between_children)  # while a child runs, spawn.run has a handler of its own
        refuse_control_characters(sys.argv[1:])
        compose_and_run(progress)
    except BaseException as error:
        return exit_status(error, progress)
    return 0


if __name__ == "__main__":
    sys.exit(main())
