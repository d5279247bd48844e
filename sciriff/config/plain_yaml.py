"""YAML as plain values: text such as `${oc.env:HOME}` refers to nothing, a tag makes no object, and a file cannot grow
while it is read."""

import re
from pathlib import PurePath
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

LARGEST = 2**17
"""Bytes of a file. A run's config has about 10,000."""
REFERENCE = re.compile(r"(\\*)\$\{")


def plain_values(content: bytes) -> dict[str, Any]:
    """Keys and values of a YAML file, read as OmegaConf reads its types. ValueError says in a few words why there are
    none."""
    if len(content) > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes, which no config has")
    try:
        values = yaml.load(content.decode(), _loader())
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{error.problem or error.context}{line}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).split("\n", 1)[0].split())) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not values:
        raise ValueError("it is empty")
    if not isinstance(values, dict):
        raise ValueError("expected keys and values")
    return {str(key): value for key, value in values.items()}


def written(values: dict[str, Any]) -> str:
    """The text of a YAML file with these values."""
    return OmegaConf.to_yaml(OmegaConf.create(escaped(values)), resolve=True)


def escaped(values: Any) -> Any:
    """The values with their text spelt so that OmegaConf, which looks for references in it, leaves it as it was."""
    if isinstance(values, dict):
        return {key: escaped(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [escaped(value) for value in values]
    if isinstance(values, str | PurePath):
        values = str(values)
        return REFERENCE.sub(lambda found: f"{found[1] * 2}\\${{", values)
    assert values is None or isinstance(values, int | float), type(values)
    return values


def _loader() -> Any:
    """OmegaConf's own loader, without tags, which make objects, and aliases, which make gigabytes of a few lines."""

    class Loader(get_yaml_loader()):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases (*name) are not taken")
            if (tag := self.peek_event().tag) is not None:
                raise yaml.YAMLError(f"tags ({tag!r}) are not taken")
            return super().compose_node(parent, index)

    return Loader
