"""Find the JSON in what a model wrote. Never raises, and takes time linear in the length of the text."""

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
"""Levels of nesting that are read. Python gives up somewhere near 1,000, where exactly depends on its version."""


@dataclass(frozen=True)
class Reading:
    """What was found. `value` is None unless the status is valid_json or extract_success."""

    status: str
    """valid_json (the whole text), null_json (the whole text is null), extract_success (a part) or extract_failure."""
    value: Any


def json_list(text: str) -> Reading:
    """The JSON value that is the whole text, else the first list that stands in it."""
    return _read(text, "[", "]")


def json_object(text: str) -> Reading:
    """The JSON value that is the whole text, else the first object that stands in it."""
    return _read(text, "{", "}")


def json_list_mended(text: str) -> Reading:
    """As json_list, of a text whose final } is taken for ], a slip that models make in lists of lists."""
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
    """json.loads with one kind of error, a ValueError: also of numbers of thousands of digits and of deep nesting."""
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
    """Spans from an opener to its closer, left to right, blind to quotes.

    A span begins only where nothing is open, so spans never overlap and parsing all of them is linear. A stray closer
    makes the depth negative for good: the opener after it only makes up for it. Both are the reference's rules.
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
