"""Read CoNLL files: a token and its tag on each line, an empty line after each sentence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sciriff.recreate.readers.text_lines import text_lines
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError

BLANKS = re.compile("[ \t]+")


@dataclass(frozen=True)
class Sentence:
    """Tokens and their tags, equal in number."""

    place: str
    """File and line of its first token."""
    tokens: tuple[str, ...]
    tags: tuple[str, ...]


def conll_sentences(path: Path) -> Iterator[Sentence]:
    """Stream sentences. The first column is the token, the last its tag; columns have tabs or blanks between them.
    Lines of `-DOCSTART-` end a sentence. UserError names the file and the line."""
    rows: list[tuple[str, str, str]] = []
    for place, line in text_lines(path):
        if line.strip(" \t") and not line.startswith("-DOCSTART-"):
            columns = line.split("\t") if "\t" in line else BLANKS.split(line)
            if len(columns) < 2 or not columns[0] or not columns[-1]:
                raise UserError(f"{place}: a line is a token and its tag, and this is {shown(line)}")
            rows.append((place, columns[0], columns[-1]))
        elif rows:
            yield _sentence(rows)
            rows = []
    if rows:
        yield _sentence(rows)


def _sentence(rows: list[tuple[str, str, str]]) -> Sentence:
    places, tokens, tags = zip(*rows, strict=True)
    return Sentence(places[0], tokens, tags)
