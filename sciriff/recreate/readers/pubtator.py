"""Read PubTator files: `ID|t|title`, `ID|a|abstract`, then a line of tabs for each mention."""

import re
from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.readers.annotated_text import AnnotatedText, Entity, Passage
from sciriff.recreate.readers.text_lines import text_lines
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError

TEXT_LINE = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
"""The text itself may contain bars and tabs."""
PASSAGES = {"t": "title", "a": "abstract"}


def pubtator_documents(path: Path) -> Iterator[AnnotatedText]:
    """Stream the documents of a file. Relations, whose second column is no number, are passed over.

    A new title begins a document, with or without an empty line before it. UserError names the file and the line.
    """
    name: str | None = None
    passages: list[Passage] = []
    entities: list[Entity] = []
    for place, line in text_lines(path):
        if not line.strip():
            continue
        text = TEXT_LINE.match(line)
        owner = text[1] if text else line.split("\t")[0]
        if text and text[2] == "t":
            if name is not None:
                yield AnnotatedText(name, tuple(passages), tuple(entities))
            name, passages, entities = owner, [], []
        if name is None:
            raise UserError(f"{place}: a document begins with its title, ID|t|TITLE, not with {shown(line)}")
        if owner != name:
            problem = f"{place}: belongs to document {shown(owner)}, but stands in document {shown(name)}"
            raise UserError(f"{problem}; each document begins with its title, ID|t|TITLE")
        if text:
            start = sum(len(passage.text) + 1 for passage in passages)
            passages.append(Passage(PASSAGES[text[2]], text[3], start))
        elif not _is_relation(line):
            entities.append(_mention(place, line, str(len(entities))))
    if name is not None:
        yield AnnotatedText(name, tuple(passages), tuple(entities))


def _is_relation(line: str) -> bool:
    columns = line.split("\t")
    return len(columns) >= 4 and not columns[1].isdecimal()


def _mention(place: str, line: str, identifier: str) -> Entity:
    """Read ID, start, end, text, type, perhaps identifiers and, for a composite mention, its parts between bars."""
    try:
        _, start, end, text, kind, *rest = line.split("\t")
        span = (int(start), int(end))
    except ValueError:
        raise UserError(f"{place}: no mention, which has ID, start, end, text and type: {shown(line)}") from None
    parts = rest[1].split("|") if len(rest) > 1 else []
    return Entity(identifier, kind, (text,), (span,), tuple(parts))
