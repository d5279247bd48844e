"""ChemSum: the sections of a chemistry paper, to write its abstract."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed

SEPARATOR = "<!>"
"""Between sections, and between headers."""


@dataclass
class Paper:
    title: str
    abstract: str
    sections: str
    headers: str


def format_record(record: Record) -> Iterator[Record]:
    """Yield title, abstract and article_text: each section below its header, an empty line between sections.

    How the authors joined header and section was not seen. A section without a header stands alone; a header without
    text is left out.
    """
    paper = typed(record, Paper)
    sections = paper.sections.split(SEPARATOR)
    headers = paper.headers.split(SEPARATOR)[: len(sections)]
    parts = [
        f"{header.strip()}\n{section.strip()}".strip()
        for header, section in zip_longest(headers, sections, fillvalue="")
        if section.strip()
    ]
    yield {"title": paper.title, "article_text": "\n\n".join(parts), "abstract": paper.abstract}
