"""Multi-XScience: the abstracts of a paper and of those it cites, to write its related work."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.recreate.object_lists import objects
from sciriff.run.typed_json import typed

MARKER = re.compile(r"@cite_\d+")


@dataclass
class Cited:
    cite_N: str
    """Marker in the text, such as @cite_5."""
    abstract: str


@dataclass
class Paper:
    abstract: str
    related_work: str
    ref_abstract: list[Cited]


def format_record(record: Record) -> Iterator[Record]:
    """Yield main_abstract, cited_abstracts_transformed and related_work_transformed, or nothing without an abstract.

    Cited papers are numbered in the order of the corpus, [1] first; those that the text cites and the corpus does not
    list follow in the order of the text. Only papers with an abstract are listed, a line for each.
    """
    paper = typed(record | {"ref_abstract": objects(record.get("ref_abstract"), "ref_abstract")}, Paper)
    cited = {other.cite_N: other.abstract.strip() for other in paper.ref_abstract}
    markers = dict.fromkeys([*cited, *MARKER.findall(paper.related_work)])
    numbers = {marker: number for number, marker in enumerate(markers, 1)}
    abstracts = [f"[{numbers[marker]}] {abstract}" for marker, abstract in cited.items() if abstract]
    if abstracts:
        yield {
            "main_abstract": paper.abstract,
            "cited_abstracts_transformed": "\n".join(abstracts),
            "related_work_transformed": MARKER.sub(lambda found: f"[{numbers[found[0]]}]", paper.related_work),
        }
