"""YAML as plain values: text such as `${oc.env:HOME}` refers to nothing, a tag makes no object, and a file cannot grow
while it is read."""

import re
from pathlib import PurePath
from typing import Any

import yaml
from omegaconf import OmegaConf

LARGEST = 2**17
"""Bytes of a file. A run's config has about 10,000."""
EXPONENT = re.compile(r"[-+]?[0-9]+(_[0-9]+)*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
"""A number that YAML 1.1, which PyYAML reads, does not know where it has no point or no sign after the e."""
REFERENCE = re.compile(r"(\\*)\$\{")


def plain_values(content: bytes) -> dict[str, Any]:
    """Keys and values of a YAML file, read as OmegaConf reads its types. ValueError says in a few words why there are
    none."""
    if len(content) > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes, which no config has")
    try:
        values = yaml.load(content.decode(), _Loader)
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


class _Loader(yaml.SafeLoader):
    """PyYAML's, with numbers as OmegaConf writes them (1e-05 is one, a date is text), and without tags, which make
    objects, aliases, which make gigabytes of a few lines, and keys that stand twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken")
        if (tag := self.peek_event().tag) is not None:
            raise yaml.YAMLError(f"tags ({tag!r}) are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                what = "duplicate key" if isinstance(key, yaml.ScalarNode) else "no text as a key:"
                raise yaml.YAMLError(f"{what} {key.value}, line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))
