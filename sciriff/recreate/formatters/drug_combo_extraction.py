"""Drug combinations: the drugs of each combination in a sentence, and its class."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed


class Span(TypedDict):
    span_id: int
    text: str


Combination = TypedDict("Combination", {"class": str, "spans": list[int]})


@dataclass
class Sentence:
    spans: list[Span]
    rels: list[Combination]


def format_record(record: Record) -> Iterator[Record]:
    """Yield the record with `relations`, each [drug, ..., class]."""
    sentence = typed(record, Sentence)
    texts = {span["span_id"]: span["text"] for span in sentence.spans}
    if missing := [number for relation in sentence.rels for number in relation["spans"] if number not in texts]:
        raise ValueError(f"rels: there is no span_id {missing[0]} in spans")
    relations = [[*(texts[number] for number in relation["spans"]), relation["class"]] for relation in sentence.rels]
    yield {**record, "relations": relations}
