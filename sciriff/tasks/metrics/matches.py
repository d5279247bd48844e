"""Item-by-item comparison of an answer with its reference: what a metric counts, made visible."""

from dataclasses import dataclass

MATCH = "match"
SPURIOUS = "spurious"
MISSED = "missed"
WRONG_TYPE = "wrong type"
"""The other side has the mention only under other types."""
PARTLY = "partly"
"""Some fields of a tuple agree with an otherwise unmatched tuple of the other side."""
WORDS = "words"
"""Text compared by shared words."""


@dataclass(frozen=True)
class Item:
    """One element of an answer or a reference, as the metric compares it."""

    text: str
    mark: str
    kind: str = ""
    """Type of an entity; verdict, evidence or answer for the parts of an object."""
    fields: tuple[tuple[str, bool], ...] = ()
    """For a tuple: (text, whether it agrees with the paired tuple) of each field."""


@dataclass(frozen=True)
class Matches:
    """Items of both sides, each in its own order."""

    answer: tuple[Item, ...]
    reference: tuple[Item, ...]
