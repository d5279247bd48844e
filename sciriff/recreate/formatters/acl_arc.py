"""ACL-ARC: why a paper cites another, with the sentences around the citation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

INTENTS = ("Background", "CompareOrContrast", "Extends", "FutureWork", "Motivation", "Uses")


@dataclass
class Token:
    """A token of CoreNLP."""

    word: str
    originalText: str | None = None
    """As it stands in the paper, where `word` has -LRB- for a bracket."""
    after: str | None = None
    """What stands between it and the next."""


@dataclass
class Citation:
    text: str
    intent: str
    sents_before: list[list[Token]]
    sents_after: list[list[Token]]
    section_name: str | None = None


def format_record(record: Record) -> Iterator[Record]:
    """Yield section, context_before, citation_sentence, context_after and label.

    The contexts are the tokens around, each as it stood in the paper and followed by its own `after`. The section is
    empty where the corpus names none; the intent `Future` is called FutureWork, as in the templates.
    """
    citation = typed(record, Citation)
    label = "FutureWork" if citation.intent == "Future" else citation.intent
    if label not in INTENTS:
        raise UserError(f"intent={visible_line(label)[:40]!r} is none of {', '.join(INTENTS)}")
    yield {
        "section": citation.section_name or "",
        "context_before": _glued(citation.sents_before),
        "citation_sentence": citation.text,
        "context_after": _glued(citation.sents_after),
        "label": label,
    }


def _glued(sentences: Sequence[Sequence[Token]]) -> str:
    """Join the tokens of all sentences; sentences that nothing separates get a blank between them."""
    joined = ""
    for sentence in sentences:
        if joined and not joined[-1].isspace():
            joined += " "
        joined += "".join((token.originalText or token.word) + (token.after or "") for token in sentence)
    return joined.strip()
