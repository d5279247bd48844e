"""MuP: a paper, and a summary from one of its reviews."""

from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.recreate.sentences import sentences
from sciriff.run.typed_json import typed


@dataclass
class Paper:
    paper_name: str
    text: str
    summary: str


def format_record(record: Record) -> Iterator[Record]:
    """Yield paper_name, text, summary and summary_sentences.

    The authors counted sentences with a spaCy model whose version is not known, so a count by the rule of `sentences`
    may differ from theirs, and with it the prompt of a template that prints it.
    """
    paper = typed(record, Paper)
    yield {
        "paper_name": paper.paper_name,
        "text": paper.text,
        "summary": paper.summary,
        "summary_sentences": len(sentences(paper.summary)),
    }
