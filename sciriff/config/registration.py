"""Make the schema and the resolver of conf/ known to Hydra, before anything is composed."""

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from sciriff.config.places import SAMPLE
from sciriff.config.root import Config


def register() -> None:
    """`schema`, on which conf/config.yaml builds, and `${sample:NAME}`, a file of the bundled sample."""
    OmegaConf.register_new_resolver("sample", lambda name: str(SAMPLE / name), replace=True)
    ConfigStore.instance().store("schema", Config)
    # Hydra (1.3) copies the store, of which there is but one, for each group that --help lists: half of its time.
    ConfigStore.__deepcopy__ = lambda store, _: store  # type: ignore[attr-defined]
