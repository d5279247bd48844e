"""What of an answer stands in its reference, item by item: what a metric counts, for people to look at."""

from dataclasses import dataclass

MATCH = "match"
SPURIOUS = "spurious"
MISSED = "missed"
WRONG_TYPE = "wrong type"
"""The mention stands on the other side, under other types alone."""
PARTLY = "partly"
"""A tuple of which some fields, not all, agree with one that nothing else matches."""
WORDS = "words"
"""Text that is compared by the words it shares."""


@dataclass(frozen=True)
class Item:
    """One thing that an answer or a reference holds, as the metric compares it."""

    text: str
    mark: str
    kind: str = ""
    """The type of an entity; verdict, evidence or answer where an object has such parts."""
    fields: tuple[tuple[str, bool], ...] = ()
    """Of a tuple: the text of each field, and whether it agrees with the tuple that this one goes with."""


@dataclass(frozen=True)
class Matches:
    """The items of both sides, each side in the order in which they stand there."""

    answer: tuple[Item, ...]
    reference: tuple[Item, ...]
