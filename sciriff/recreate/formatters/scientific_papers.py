"""arXiv and PubMed papers, to write their abstracts."""

from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed

LEAST_WORDS = 50


@dataclass
class Paper:
    article: str
    abstract: str


def format_record(record: Record) -> Iterator[Record]:
    """Yield article and abstract; nothing for an article below LEAST_WORDS words.

    The abstract may have any length: the authors' check of it never ran.
    """
    paper = typed(record, Paper)
    if len(paper.article.split()) >= LEAST_WORDS:
        yield {"article": paper.article, "abstract": paper.abstract}
