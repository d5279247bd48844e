"""Make the schema and the resolver of conf/ known to Hydra, before anything is composed."""

import re

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from sciriff.config.places import SAMPLE
from sciriff.config.root import Config

CLOCK = ("tag:yaml.org,2002:str", re.compile(r"[0-9]+(:[0-9]+)+$"))


def register() -> None:
    """`schema`, on which conf/config.yaml builds, `${sample:NAME}`, a file of the bundled sample, and clocks in files,
    as hydra.launcher.time has them."""
    OmegaConf.register_new_resolver("sample", lambda name: str(SAMPLE / name), replace=True)
    ConfigStore.instance().store("schema", Config)
    # Hydra (1.3) copies the store, of which there is but one, for each group that --help lists: half of its time.
    ConfigStore.__deepcopy__ = lambda store, _: store  # type: ignore[attr-defined]
    # YAML 1.1 reads 12:00:00 to the base of 60, as 43200, which sbatch would take for minutes. The first rule counts.
    # The reader gets a dict of its own: the writers have the same one, and would no longer put clocks into quotes.
    yaml.SafeLoader.yaml_implicit_resolvers = {
        first: [CLOCK, *rules] if first and first.isdecimal() and CLOCK not in rules else rules
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
