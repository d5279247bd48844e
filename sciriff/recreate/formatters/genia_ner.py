"""GENIA: entities by type, of an abstract of molecular biology."""

from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed


@dataclass
class Abstract:
    org_text: str
    ner_answer: list[str]
    """Each "entity: type"."""


def format_record(record: Record, *, types_map: str) -> Iterator[Record]:
    """Yield the entities of each type once, in the order of the record's list.

    `types_map` is "source type:type,...", and the types are listed in its order. An entity whose type is not in it is
    left out; colons inside an entity's name are lost.
    """
    pairs = [pair.split(":") for pair in types_map.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"types_map={types_map!r}: give source types and types as in DNA:DNA,cell_line:CellLine")
    types = dict(pairs)
    abstract = typed(record, Abstract)
    found: dict[str, dict[str, None]] = {kind: {} for kind in types.values()}
    for entity in abstract.ner_answer:
        *name, source = entity.split(":")
        if source.strip() in types:
            found[types[source.strip()]]["".join(name).strip()] = None
    yield {
        "abstract": abstract.org_text,
        "ner_type_list": list(found),
        "ner_dict": {kind: list(names) for kind, names in found.items()},
    }
