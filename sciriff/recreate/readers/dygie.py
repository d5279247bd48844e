"""Read documents of the DyGIE format: JSON lines of tokens, and spans over all tokens of the document."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from sciriff.recreate.readers.json_files import json_lines
from sciriff.run.typed_json import Count
from sciriff.run.user_error import UserError

Span = tuple[Count, Count]
"""First and last token, counted from 0 over the document."""

Cluster = Annotated[list[Span], Meta(min_length=1)]
"""Mentions of one thing, as annotated."""


@dataclass
class DygieDocument:
    doc_key: str | int
    sentences: list[list[str]]
    ner: list[list[tuple[Count, Count, str]]] = field(default_factory=list)
    """By sentence: (first token, last token, type)."""
    relations: list[list[tuple[Count, Count, Count, Count, str]]] = field(default_factory=list)
    """By sentence: (first and last token of the head, of the tail, type)."""
    clusters: list[Cluster] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = [token for sentence in self.sentences for token in sentence]

    def text(self, first: int, last: int) -> str:
        """Tokens of a span, with blanks between them."""
        return " ".join(self.tokens[first : last + 1])


def dygie_documents(path: Path) -> Iterator[DygieDocument]:
    """Stream the documents of a file. UserError names the line of one with a span outside its tokens."""
    for where, document in json_lines(path, DygieDocument):
        spans: list[Span] = [span for cluster in document.clusters for span in cluster]
        spans += [(first, last) for mentions in document.ner for first, last, _ in mentions]
        links = [link for links in document.relations for link in links]
        spans += [link[:2] for link in links] + [link[2:4] for link in links]
        for first, last in spans:
            if not first <= last < len(document.tokens):
                raise UserError(f"{where}: the span [{first}, {last}] is not in the {len(document.tokens)} tokens")
        yield document
