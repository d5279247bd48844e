"""SciFact, CovidFact and HealthVer: the verdict of an abstract on a claim, and the sentences that give it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import Count, typed


@dataclass
class Pair:
    abstract: list[str]
    verdict: str
    evidence: list[Count]
    """Sentences, counted from 0."""


def format_record(record: Record) -> Iterator[Record]:
    """Yield the record with the abstract as text in two forms, and the answer with sentences and with their numbers."""
    pair = typed(record, Pair)
    evidence = [sentence for number, sentence in enumerate(pair.abstract) if number in pair.evidence]
    yield {
        **record,
        "abstract_with_ids": " ".join(f"[{number}] {sentence}" for number, sentence in enumerate(pair.abstract)),
        "abstract_with_newlines": "\n".join(pair.abstract),
        "output_json_with_ids": json.dumps({"verdict": pair.verdict, "evidence": pair.evidence}),
        "output_json_with_sentences": json.dumps({"verdict": pair.verdict, "evidence": evidence}),
    }
