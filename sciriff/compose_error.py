"""Hydra's and OmegaConf's complaints about a command line, as one line with the nearest right name."""

import dataclasses
import re
from collections.abc import Iterator
from typing import get_type_hints

from hydra.errors import MissingConfigException

from sciriff.config import Config, nearest

KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "List": "a list"}


def known_keys(kind: type = Config, prefix: str = "") -> Iterator[str]:
    """Every key of the schema, `train.learning_rate` and the like."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key = prefix + field.name
        yield key
        if dataclasses.is_dataclass(inner := hints[field.name]) and isinstance(inner, type):
            yield from known_keys(inner, key + ".")


def explain(error: BaseException) -> str:
    """One line about a composition that failed."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option} is not known{nearest(option, error.options)}"
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"{found[1]} is not a key of the config{nearest(found[1], [*known_keys(), 'experiment'])}"
    if found := re.search(r"Key '([^']+)' (?:is )?not in (?:'(\w+)'|struct)", text):
        place = re.match(r"In '([^']+)'", text)
        names = {key.rsplit(".", 1)[-1] for key in known_keys()}
        return f"{place[1] + '.yaml: ' if place else ''}{found[1]} is not a key of the config{nearest(found[1], names)}"
    if found := re.search(r"Error merging override (\S+)", text):
        cause = str(error.__cause__ or error.__context__ or "")
        if kind := re.search(r"could not be converted to (\w+)", cause):
            return f"{found[1]}: the value must be {KINDS.get(kind[1], kind[1])}"
        return f"{found[1]}: {cause.splitlines()[0] if cause else 'the value does not fit'}"
    return " ".join(line.strip() for line in text.splitlines()[:2])
