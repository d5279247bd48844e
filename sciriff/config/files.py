"""A config from composed values or a run folder, and back to text."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from sciriff.config.keys import DEFAULTS, KEYS, TABLES, check_values, unknown_key
from sciriff.config.model import SIZES, ShapeConfig
from sciriff.config.plain_yaml import LARGEST, escaped, plain_values, written
from sciriff.config.recreate import RecreateConfig
from sciriff.config.roles import Role, setting_of
from sciriff.config.root import Config, RecreateRoot
from sciriff.run.nearest import resembling
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

T = TypeVar("T")


def from_container(values: DictConfig) -> Config:
    """The checked config of what Hydra composed, its references resolved. UserError as `from_plain`."""
    return _checked(values, Config)


def from_plain(values: Mapping[str, Any]) -> Config:
    """The checked config of plain values, in which nothing is a reference. UserError says which key is unknown, unset
    or wrong."""
    return _checked(values, Config)


def recreate_from_container(values: DictConfig) -> RecreateConfig:
    """The checked section of what `python -m sciriff.recreate` composes. UserError as `from_plain`."""
    return _checked(values, RecreateRoot).recreate


def _checked(values: Mapping[str, Any] | DictConfig, kind: type[T]) -> T:
    try:
        plain: Any = values
        if isinstance(values, DictConfig):
            values = _without_unread_shape(values)
            plain = OmegaConf.to_container(values, resolve=True, throw_on_missing=True)
        plain = _with_typed_tables(plain)
        merged = OmegaConf.merge(OmegaConf.structured(kind), plain)
        check_values(OmegaConf.to_container(merged, throw_on_missing=True))  # type: ignore[arg-type]
        config = OmegaConf.to_object(merged)
    except MissingMandatoryValue as error:
        raise UserError(_unset(str(error.full_key), values)) from None
    except ConfigKeyError as error:
        raise UserError(unknown_key(str(error.full_key))) from None
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise UserError(f"{key + ': ' if key else ''}{str(error).splitlines()[0]}") from None
    assert isinstance(config, kind)
    return config


def _with_typed_tables(plain: Any) -> Any:
    """The escaped values, those of the sections that somebody added to a table as what they are: OmegaConf takes plain
    values alone where a key is added from the command line."""
    typed = escaped(plain)
    for table, kind in TABLES.items():
        parts: Any = typed
        for section in table.split("."):
            parts = parts.get(section) if isinstance(parts, dict) else None
        if not isinstance(parts, dict):  # OmegaConf says so of what is there
            continue
        for own in sorted(parts.keys() - DEFAULTS[table].keys(), key=str):
            key = f"{table}.{visible_line(own)}"
            if not isinstance(parts[own], dict):
                raise UserError(f"{key} must have keys of its own, such as {key}.path")
            try:
                parts[str(own)] = OmegaConf.merge(OmegaConf.structured(kind), parts.pop(own))
            except ConfigKeyError as error:
                raise UserError(unknown_key(f"{key}.{error.full_key}")) from None
            except OmegaConfBaseException as error:
                raise UserError(f"{key}.{error.full_key}: {str(error).splitlines()[0]}") from None
    return typed


def _unset(key: str, values: Mapping[str, Any] | DictConfig) -> str:
    """One line about a key without a value; of a shape, about all that it lacks."""
    section, _, _ = key.rpartition(".")
    if section != "model.shape":
        return f"{key} is not set: give {key}=..."
    model = values["model"]
    lacking = [f"model.shape.{size}" for size in SIZES if model["shape"].get(size, "???") in ("???", None)]
    verb = "is" if len(lacking) == 1 else "are"
    read = "; or leave model.shape out: it is read from config.json" if model.get("path") else ""
    return f"{', '.join(lacking)} {verb} not set: give {'it' if verb == 'is' else 'all'}{read}"


def _without_unread_shape(values: DictConfig) -> DictConfig:
    """Null for a `model.shape` of which nothing, or nothing but the context, was given: it is to be read. OmegaConf
    takes no keys below a null, so conf/model/ has an empty shape where people may give one."""
    model = None if OmegaConf.is_missing(values, "model") else values.get("model")
    shape = None if model is None or OmegaConf.is_missing(model, "shape") else model.get("shape")
    if shape is None or not all(OmegaConf.is_missing(shape, size) for size in SIZES if size != "context"):
        return values
    values = values.copy()
    values.model.shape = None
    return values


def shape_of_values(values: Any) -> ShapeConfig | None:
    """The checked shape of plain values, as in a run's config; None of null. UserError as `from_plain`."""
    if values is None:
        return None
    try:
        merged = OmegaConf.merge(OmegaConf.structured(ShapeConfig), escaped(values))
        check_values(OmegaConf.to_container(merged, throw_on_missing=True), "model.shape")  # type: ignore[arg-type]
        shape = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, ValueError, AssertionError) as error:
        raise UserError(f"model.shape: {str(error).splitlines()[0]}") from None
    assert isinstance(shape, ShapeConfig)
    return shape


def load(path: Path) -> Config:
    """The config that was frozen into a run folder."""
    return from_plain(read(path))


def read(path: Path) -> dict[str, Any]:
    """A run's config.yaml as plain values, not checked against the schema: an older run may have other keys. Text such
    as `${oc.env:HOME}` stays text. UserError if there is none, or if it is damaged."""
    return parsed(path, content_of(path))


def content_of(path: Path) -> bytes:
    """The bytes of a run's config.yaml. UserError if there is none."""
    if not path.is_file():
        beside = [other.parent.name for other in path.parent.parent.glob(f"*/{path.name}")]
        makes = "; `python -m sciriff.train` makes one"
        raise UserError(f"{path}: there is no run here{resembling(path.parent.name, beside) or makes}")
    with path.open("rb") as file:
        return file.read(LARGEST + 1)  # one of gigabytes is not to fill the memory


def parsed(path: Path, content: bytes) -> dict[str, Any]:
    """What `read` reads, of content that was read before."""
    try:
        return plain_values(content)
    except ValueError as error:
        raise UserError(
            f"{path}: not a config ({error}); remove it, and the command that made this run writes it again and keeps "
            "what is finished"
        ) from None


def to_yaml(config: Config) -> str:
    """The text of config.yaml."""
    return written(as_dict(config))


def as_dict(part: Any) -> dict[str, Any]:
    """A config or a part of it as plain containers, for digests and logs, without the keys that are not written where
    they are empty."""
    values = {}
    for known in fields(part):
        value = getattr(part, known.name)
        if value or not setting_of(known).unwritten_if_empty:
            values[known.name] = _as_plain(value)
    return values


def _as_plain(value: Any) -> Any:
    if is_dataclass(value):
        return as_dict(value)
    if isinstance(value, dict):
        return {key: _as_plain(part) for key, part in value.items()}
    return deepcopy(value)


def what_decides(config: Config, section: str) -> dict[str, Any]:
    """The keys of a section that decide a result, as plain values: what a digest of it is made of."""
    values = as_dict(getattr(config, section))
    return {key: value for key, value in values.items() if KEYS[f"{section}.{key}"].role is not Role.HOW}
