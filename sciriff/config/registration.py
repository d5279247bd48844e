"""Make the schema and the resolver of conf/ known to Hydra, before anything is composed."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from sciriff.config.parents import of_first_parent
from sciriff.config.places import SAMPLE
from sciriff.config.root import Config, RecreateRoot

CLOCK = ("tag:yaml.org,2002:str", re.compile(r"[0-9]+(:[0-9]+)+$"))


def register() -> None:
    """The schemas on which conf/config.yaml and conf/recreate.yaml build, `${sample:NAME}`, a sample file, and
    `${parent:KEY}`, what a merged model has from its first parent."""
    OmegaConf.register_new_resolver("sample", lambda name: str(SAMPLE / name), replace=True)
    OmegaConf.register_new_resolver("parent", of_first_parent, replace=True)
    ConfigStore.instance().store("schema", Config)
    ConfigStore.instance().store("recreate_schema", RecreateRoot)


@contextlib.contextmanager
def composing() -> Iterator[None]:
    """Change two things of Hydra (1.3) and PyYAML while Hydra composes and runs jobs.

    Hydra copies its one store of configs for each group that --help lists: half of its time. YAML 1.1 reads 12:00:00
    to the base of 60, as 43200, which sbatch would take for minutes (hydra.launcher.time in a file); here it is text.
    Only the reader gets this rule: with it, writers would no longer quote clocks.
    """
    rules = yaml.SafeLoader.yaml_implicit_resolvers
    clocks = {
        first: [CLOCK, *those] if first and first.isdecimal() else those  # the first rule that fits counts
        for first, those in rules.items()
    }
    with (
        _set(ConfigStore, "__deepcopy__", lambda store, _: store),
        _set(yaml.SafeLoader, "yaml_implicit_resolvers", clocks),
    ):
        yield


@contextlib.contextmanager
def _set(kind: type, name: str, value: Any) -> Iterator[None]:
    """Give a class an attribute that it does not define itself, and take it away again."""
    assert name not in vars(kind), f"{kind.__name__}.{name}"
    setattr(kind, name, value)
    try:
        yield
    finally:
        delattr(kind, name)
