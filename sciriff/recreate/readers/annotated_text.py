"""AnnotatedText: a document with marked spans, which is what PubTator, BioC and brat files hold."""

from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""(start, end) in characters, as the file counts them."""


@dataclass(frozen=True)
class Passage:
    """A part of a document, such as its title."""

    type: str
    text: str
    start: int
    """Place of its first character in the document."""


@dataclass(frozen=True)
class Entity:
    """A marked mention. One with a gap has several pieces."""

    id: str
    type: str
    pieces: tuple[str, ...]
    spans: tuple[Span, ...]
    parts: tuple[str, ...] = ()
    """Mentions that a composite one ("breast and colon cancer") stands for, where the file lists them."""


@dataclass(frozen=True)
class Event:
    """An event of a brat file: a trigger with arguments."""

    id: str
    type: str
    trigger: Entity
    arguments: tuple[tuple[str, str], ...]
    """(role, id of an entity or event)"""


@dataclass(frozen=True)
class AnnotatedText:
    """A document with its annotations, in the order of the file."""

    name: str
    """Identifier in the file, or name of the file."""
    passages: tuple[Passage, ...]
    entities: tuple[Entity, ...]
    events: tuple[Event, ...] = ()


def cut(text: str, spans: Sequence[Span]) -> tuple[str, ...]:
    """Cut the text of a mention, whose pieces are joined by blanks, at the lengths of its spans."""
    if len(spans) == 1:
        return (text,)
    pieces = []
    for start, end in spans:
        pieces.append(text[: end - start])
        text = text[end - start :].lstrip(" ")
    return tuple(pieces)
