"""Find the JSON in a model's answer. Never raises; the time is linear in the length of the text."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

VALID_JSON = "valid_json"
NULL_JSON = "null_json"
EXTRACT_SUCCESS = "extract_success"
EXTRACT_FAILURE = "extract_failure"

DEEPEST = 300
"""Levels of nesting that are parsed. Python's own limit is near 1,000 and depends on its version."""


@dataclass(frozen=True)
class Reading:
    """Result of reading an answer. `value` is None unless the status is valid_json or extract_success."""

    status: str
    """valid_json (the whole text is JSON), null_json (it is null), extract_success (a part is) or extract_failure."""
    value: Any


def json_list(text: str) -> Reading:
    """Read the whole text as JSON, else the first list in it."""
    return _read(text, "[", "]")


def json_object(text: str) -> Reading:
    """Read the whole text as JSON, else the first object in it."""
    return _read(text, "{", "}")


def json_list_repaired(text: str) -> Reading:
    """json_list with a final } replaced by ], a mistake that models make in lists of lists."""
    text = text.strip()
    return json_list(text.removesuffix("}") + "]" if text.endswith("}") else text)


def _read(text: str, opener: str, closer: str) -> Reading:
    try:
        value = _loads(text)
    except ValueError:
        for span in _balanced(text, opener, closer):
            try:
                return Reading(EXTRACT_SUCCESS, _loads(span))
            except ValueError:
                continue
        return Reading(EXTRACT_FAILURE, None)
    if value is None or value == "null":
        return Reading(NULL_JSON, None)
    return Reading(VALID_JSON, value)


def _loads(text: str) -> Any:
    """json.loads that raises only ValueError, also for numbers of thousands of digits and for deep nesting."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for parent in level
            if isinstance(parent, list | dict)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return value
    raise ValueError("nested too deeply")


def _balanced(text: str, opener: str, closer: str) -> Iterator[str]:
    """Spans from an opener to its matching closer, left to right; quotes are ignored.

    A span begins only at depth 0, so spans never overlap and parsing all of them takes linear time. A stray closer
    lowers the depth below 0, and the next opener only brings it back to 0. Both are the reference code's rules.
    """
    depth = start = 0
    for bracket in re.finditer(re.escape(opener) + "|" + re.escape(closer), text):
        if bracket[0] == opener:
            if depth == 0:
                start = bracket.start()
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                yield text[start : bracket.end()]
