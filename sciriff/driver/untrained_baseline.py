"""The untrained baseline: a run that answers with the model as it was before training, shared by all that show it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from sciriff.config import KEYS, PACKAGE, Config, as_dict, load
from sciriff.config.roles import Role
from sciriff.driver import pipeline
from sciriff.driver.command_line import this_command
from sciriff.driver.composed import checked, named
from sciriff.driver.requeue import ProgressSinceStart
from sciriff.driver.run_name import typed_overrides
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

OF_TRAINING = tuple({key.partition(".")[0] for key, setting in KEYS.items() if setting.role is Role.LEARNT})
"""Groups that decide only what is learnt, so that an untrained model answers the same."""
OF_THE_RUN = ("name", "run_dir", "stages", "report", "publish")
"""Keys and groups that concern only the run that was typed."""


def untrained_overrides(typed: Sequence[str], *, random_weights: bool) -> list[str]:
    """The baseline's command line, made of a run's. Runs over seeds share it: greedy answers do not depend on the seed,
    and samples are drawn with the default one. Random weights are made from the seed."""
    left_out = {*OF_TRAINING, *OF_THE_RUN, *([] if random_weights else ["seed"])}
    kept = [o for o in typed if o.partition("=")[0].lstrip("+~").partition(".")[0] not in left_out]
    return [*kept, "train=none"]


def wants_untrained(config: Config) -> bool:
    """Whether the report shows the untrained baseline."""
    return config.report.untrained and {"train", "predict"} <= set(config.active_stages)


def untrained_config(config: Config, typed: Sequence[str]) -> Config:
    """The config of the baseline; `typed` are the overrides of the run that shows it."""
    kept = untrained_overrides(typed, random_weights=config.model.path is None)
    # ${...} in them refers to values of the run, which the baseline need not have.
    overrides = list(OmegaConf.create({**as_dict(config), "typed": kept}).typed)
    composed = hydra.compose("config", [*overrides, "hydra.mode=RUN"], return_hydra_config=True)
    composed.name = None
    return checked(named(composed)[0])


def with_beside(config: Config, before: Config) -> Config:
    """The config with the baseline in its report."""
    beside = list(dict.fromkeys([*config.report.beside, before.run_dir]))
    return replace(config, report=replace(config.report, beside=beside))


def beside_untrained(config: Config, progress: ProgressSinceStart) -> Config:
    """The config with its baseline in its report, once the baseline is finished."""
    before = with_general_of_others(untrained_config(config, typed_overrides(HydraConfig.get())))
    pipeline.run(before, again=this_command(), progress=progress, wait=True)
    return with_beside(config, before)


def with_general_of_others(before: Config) -> Config:
    """The baseline with the general tasks that another run has asked of it, where this one asks for none: no run name
    has them, so both share the folder, and a run that still trains will show them."""
    frozen = RunDir(Path(before.run_dir)).config
    if before.general.tasks or not frozen.is_file():
        return before
    try:
        general = load(frozen).general
    except UserError:  # of another version, or damaged: the run itself will say so
        return before
    theirs = [folder for folder in general.include if not Path(folder).is_relative_to(PACKAGE)]
    runs_code = theirs or general.run_code  # which nobody typed here
    return before if runs_code else replace(before, general=general)
