"""PubMedQA: yes, no or maybe to the question of a paper."""

from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed


@dataclass
class Paper:
    QUESTION: str
    CONTEXTS: list[str]
    LABELS: list[str]
    """Section of each context."""
    final_decision: str


def format_record(record: Record) -> Iterator[Record]:
    """Yield the question, the labelled sections of the abstract, one a line, and the answer in capitals."""
    paper = typed(record, Paper)
    if len(paper.LABELS) != len(paper.CONTEXTS):
        raise ValueError(f"LABELS has {len(paper.LABELS)} items and CONTEXTS {len(paper.CONTEXTS)}")
    sections = [f"({label}) {context}" for label, context in zip(paper.LABELS, paper.CONTEXTS, strict=True)]
    yield {"context": "\n".join(sections), "question": paper.QUESTION, "answer": paper.final_decision.upper()}
