"""The untrained baseline: a run that answers with the model as it was before training, shared by all that show it."""

import sys
from collections.abc import Sequence
from dataclasses import replace

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from sciriff.config import KEYS, Config, as_dict
from sciriff.config.roles import Role
from sciriff.driver import pipeline
from sciriff.driver.command_line import this_command
from sciriff.driver.composed import checked
from sciriff.driver.requeue import ProgressSinceStart
from sciriff.driver.run_name import run_name, typed_overrides

OF_TRAINING = tuple({key.partition(".")[0] for key, setting in KEYS.items() if setting.role is Role.LEARNT})
"""Groups of the command line that decide what is learnt alone: an untrained model answers the same."""

OF_THE_RUN = ("name", "run_dir", "stages", "report")
"""Keys and groups that are meant for the run that was typed."""


def untrained_overrides(typed: Sequence[str], *, random_weights: bool) -> list[str]:
    """The command line of that run, from the one that was typed.

    Runs over seeds share it: greedy answers do not depend on the seed, and samples are drawn with the default one. A
    model of random weights is made from its seed.
    """
    left_out = {*OF_TRAINING, *OF_THE_RUN, *([] if random_weights else ["seed"])}
    kept = [o for o in typed if o.partition("=")[0].lstrip("+~").partition(".")[0] not in left_out]
    return [*kept, "train=none"]


def wants_untrained(config: Config) -> bool:
    """Whether the report shows the model as it was before training."""
    return config.report.untrained and {"train", "predict"} <= set(config.active_stages)


def untrained_config(config: Config, typed: Sequence[str]) -> Config:
    """The config of the run that answers with the untrained model; `typed` are the overrides of the run itself."""
    kept = untrained_overrides(typed, random_weights=config.model.path is None)
    # What they refer to by ${...} is the run's own, which may be left out here.
    overrides = list(OmegaConf.create({**as_dict(config), "typed": kept}).typed)
    composed = hydra.compose("config", [*overrides, "hydra.mode=RUN"], return_hydra_config=True)
    name = run_name(overrides, composed.hydra.runtime.choices)
    with open_dict(composed):
        del composed["hydra"]
    composed.name = name
    return checked(composed)


def with_beside(config: Config, before: Config) -> Config:
    """The config with that run in its report."""
    beside = list(dict.fromkeys([*config.report.beside, before.run_dir]))
    return replace(config, report=replace(config.report, beside=beside))


def beside_untrained(config: Config, progress: ProgressSinceStart) -> Config:
    """The config with the run of the untrained model in its report, once that run is finished."""
    before = untrained_config(config, typed_overrides(HydraConfig.get()))
    print(f"{before.name}: {', '.join(before.active_stages)} in {before.run_dir}", file=sys.stderr, flush=True)
    pipeline.run(before, again=this_command(), progress=progress, wait=True)
    return with_beside(config, before)
