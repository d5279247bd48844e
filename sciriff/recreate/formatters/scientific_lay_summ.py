"""PLOS and eLife papers, to write the summary for lay readers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed

SHOWN = {0: "Abstract", 1: "Introduction", 3: "Discussion"}
"""Place among the sections -> heading that must stand there; the sections between are not shown."""
BLANK_BEFORE_STOP = re.compile(r"\s+(?=[.,;:!?])")


@dataclass
class Paper:
    title: str
    article: str
    """Sections, a line each."""
    section_headings: str
    """Their headings, a line each."""
    summary: str


def format_record(record: Record) -> Iterator[Record]:
    """Yield metadata.title, input_transformed and summary; nothing for a paper with other sections.

    The three sections stand below their headings, an empty line between them, without the blanks that the tokenized
    source has before punctuation. That layout is ours.
    """
    paper = typed(record, Paper)
    headings = [heading.strip() for heading in paper.section_headings.split("\n")]
    sections = paper.article.split("\n")
    if all(place < min(len(headings), len(sections)) and headings[place] == name for place, name in SHOWN.items()):
        yield {
            "metadata": {"title": paper.title},
            "input_transformed": "\n\n".join(f"{name}\n{_tidy(sections[place])}" for place, name in SHOWN.items()),
            "summary": _tidy(paper.summary),
        }


def _tidy(tokenized: str) -> str:
    return BLANK_BEFORE_STOP.sub("", tokenized).strip()
