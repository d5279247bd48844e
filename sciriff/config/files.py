"""A config from composed values or a run folder, and back to text."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from sciriff.config.keys import KEYS, check_values, unknown_key
from sciriff.config.recreate import RecreateConfig
from sciriff.config.roles import Role, setting_of
from sciriff.config.root import Config, RecreateRoot
from sciriff.run.user_error import UserError

T = TypeVar("T")


def from_container(values: DictConfig) -> Config:
    """The checked config of composed values. UserError says which key is unknown, unset or wrong."""
    return _checked(values, Config)


def recreate_from_container(values: DictConfig) -> RecreateConfig:
    """The checked section of what `python -m sciriff.recreate` composes. UserError as `from_container`."""
    return _checked(values, RecreateRoot).recreate


def _checked(values: DictConfig, kind: type[T]) -> T:
    try:
        plain = OmegaConf.to_container(values, resolve=True, throw_on_missing=True)
        merged = OmegaConf.merge(OmegaConf.structured(kind), plain)
        check_values(OmegaConf.to_container(merged, throw_on_missing=True))  # type: ignore[arg-type]
        config = OmegaConf.to_object(merged)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} is not set: give {error.full_key}=...") from None
    except ConfigKeyError as error:
        raise UserError(unknown_key(str(error.full_key))) from None
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise UserError(f"{key + ': ' if key else ''}{str(error).splitlines()[0]}") from None
    assert isinstance(config, kind)
    return config


def load(path: Path) -> Config:
    """The config that was frozen into a run folder."""
    if not path.is_file():
        raise UserError(f"{path}: there is no run here; `python -m sciriff.train` makes one")
    return from_container(read(path))


def read(path: Path) -> DictConfig:
    """A run's config.yaml, not checked against the schema: an older run may have other keys. UserError if damaged."""
    try:
        values = OmegaConf.load(path)
        reason = "it is empty" if not values else "expected keys and values"
    except (YAMLError, UnicodeDecodeError) as error:
        values, reason = None, " ".join(str(error).split("\n", 1)[0].split())
    if not isinstance(values, DictConfig) or not values:
        raise UserError(
            f"{path}: not a config ({reason}); remove it, and the command that made this run writes it again and keeps "
            "what is finished"
        )
    return values


def to_yaml(config: Config) -> str:
    """The text of config.yaml."""
    return OmegaConf.to_yaml(_written(config), resolve=True)


def as_dict(part: Any) -> Any:
    """A config or a part of it as plain containers, for digests and logs."""
    return OmegaConf.to_container(_written(part), resolve=True)


def _written(part: Any) -> DictConfig:
    """A config or a part of it without the keys that are not written where they are empty."""
    values = OmegaConf.structured(part)
    _drop_unwritten(values, part)
    return values


def _drop_unwritten(values: DictConfig, part: Any) -> None:
    for known in fields(part):
        value = getattr(part, known.name)
        if is_dataclass(value):
            _drop_unwritten(values[known.name], value)
        elif setting_of(known).unwritten_if_empty and not value:
            OmegaConf.set_struct(values, False)  # a structured config lets go of no key otherwise
            del values[known.name]


def what_decides(config: Config, section: str) -> dict[str, Any]:
    """The keys of a section that decide a result, as plain values: what a digest of it is made of."""
    values = as_dict(getattr(config, section))
    return {key: value for key, value in values.items() if KEYS[f"{section}.{key}"].role is not Role.HOW}
