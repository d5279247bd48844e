"""Read claims and the abstracts that they cite, in the format of SciFact: two files of JSON lines."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sciriff.recreate.readers.json_files import json_lines
from sciriff.run.typed_json import Count
from sciriff.run.user_error import UserError


@dataclass
class Rationale:
    label: str
    sentences: list[Count]
    """Sentences of the abstract that give the evidence together, counted from 0."""


@dataclass
class Claim:
    id: int
    claim: str
    cited_doc_ids: list[int] = field(default_factory=list)
    doc_ids: list[int] = field(default_factory=list)
    """The later name of the same."""
    evidence: dict[str, list[Rationale]] = field(default_factory=dict)
    """By the id of the abstract; one that is cited without evidence is not a key."""


@dataclass
class Abstract:
    doc_id: int
    title: str
    abstract: list[str]


@dataclass
class CitedAbstract:
    """A claim and one of the abstracts that it cites."""

    claim: Claim
    abstract: Abstract
    rationales: list[Rationale]


def cited_abstracts(claims: Path, corpus: Path) -> Iterator[CitedAbstract]:
    """Yield each claim with each abstract that it cites, in the order of the claims; the abstracts are held whole."""
    abstracts = {abstract.doc_id: abstract for _, abstract in json_lines(corpus, Abstract)}
    for where, claim in json_lines(claims, Claim):
        for doc_id in claim.cited_doc_ids or claim.doc_ids:
            if doc_id not in abstracts:
                raise UserError(f"{where}: the claim cites the abstract {doc_id}, which is not in {corpus}")
            abstract, rationales = abstracts[doc_id], claim.evidence.get(str(doc_id), [])
            for sentence in [sentence for rationale in rationales for sentence in rationale.sentences]:
                if sentence >= len(abstract.abstract):
                    sentences = f"{len(abstract.abstract)} sentences"
                    raise UserError(f"{where}: evidence in sentence {sentence} of abstract {doc_id}, of {sentences}")
            yield CitedAbstract(claim, abstract, rationales)
