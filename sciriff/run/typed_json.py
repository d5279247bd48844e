"""Check parsed JSON against a type; an error names the key and the file in one line.

`json` parses and writes: msgspec's own decoder refuses the lone surrogates and NaN that rows of models have.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

T = TypeVar("T")

LONGEST_SHOWN, LONGEST_KEY = 20, 200
"""Characters of a value, and of the keys that lead to it, shown in an error."""

Count = Annotated[int, msgspec.Meta(ge=0)]
FromOne = Annotated[int, msgspec.Meta(ge=1)]


class WrongType(ValueError):
    """Parsed JSON is not of the required type; the message names the key and its value."""


def typed(values: Any, kind: type[T]) -> T:
    """Convert parsed JSON to a dataclass, TypedDict or any type that msgspec knows; unknown keys are ignored."""
    try:
        return msgspec.convert(values, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise WrongType(_explained(values, kind, str(error))) from None
    except UnicodeEncodeError as error:  # values may be half characters, keys may not
        raise WrongType(f"the key {visible_line(error.object[:LONGEST_SHOWN])!r} has half a character") from None


def read_json(path: Path, kind: type[T], what: str, fix: str) -> T:
    """Read a JSON file as `kind`. UserError says that it is not `what`, why, and how to `fix` it."""
    return parsed_json(path.read_bytes(), kind, path, what, fix)


def parsed_json(data: bytes, kind: type[T], path: Path, what: str, fix: str) -> T:
    """Parse the content of a JSON file, as `read_json`."""
    try:
        return typed(json.loads(data), kind)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not {what} ({error}); {fix}") from None


def _explained(values: Any, kind: type[Any], message: str) -> str:
    """Rewrite msgspec's message: keys instead of `$.tasks[...].n`, and the value found."""
    complaint, _, path = message.partition(" - at ")
    keys = _keys(values, kind, message, path.strip("`"))
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    name = visible_line(name if len(name) <= LONGEST_KEY else f"{name[:LONGEST_KEY]}…")
    if missing := re.fullmatch("Object missing required field `(.*)`", complaint):
        return f"{f'{name}.' if name else ''}{missing[1]} is missing"
    for key in keys:
        values = values[key]
    shown = type(values).__name__ if isinstance(values, dict | list) else json.dumps(values)[:LONGEST_SHOWN]
    expected = complaint.partition(", got ")[0].replace("`", "")
    return f"{f'{name}=' if name else 'found '}{shown}: {expected[:1].lower()}{expected[1:]}"


def _keys(values: Any, kind: type[Any], message: str, path: str) -> list[str | int]:
    """Keys of msgspec's path. For `[...]`, any key of a dict, take the one whose value alone makes the complaint."""
    keys: list[str | int] = []
    for name, place in re.findall(r"\.([^.\[]+)|\[(\.\.\.|\d+)\]", path):
        inside = values
        for key in keys:
            inside = inside[key]
        if place == "...":
            keys.append(next(key for key in inside if _complaint(_only(values, keys, key), kind) == message))
        else:
            keys.append(name or int(place))
    return keys


def _only(values: Any, keys: list[str | int], key: str) -> Any:
    """Return a copy in which the dict at `keys` has no other key than `key`."""
    if not keys:
        return {key: values[key]}
    copy = values.copy()
    copy[keys[0]] = _only(values[keys[0]], keys[1:], key)
    return copy


def _complaint(values: Any, kind: type[Any]) -> str | None:
    try:
        msgspec.convert(values, kind, str_keys=True)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        return str(error)
    return None
