"""MultiCite: the intents of a citation."""

from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed


@dataclass
class Citation:
    x: str | list[str]
    """Context; a few in the source are a list of one text, which the prompt then shows as Python writes it."""
    y: str
    """Intents, with blanks between them."""


def format_record(record: Record) -> Iterator[Record]:
    """Yield the context and the list of its intents, capitalised as the prompt names them."""
    citation = typed(record, Citation)
    intents = ["FutureWork" if intent == "future_work" else intent.capitalize() for intent in citation.y.split()]
    yield {"input_transformed": citation.x, "output_transformed": intents, "metadata": {"id": record.get("id")}}
