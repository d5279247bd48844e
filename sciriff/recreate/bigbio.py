"""BigBio's knowledge-base shape: the records in which many biomedical corpora are published."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sciriff.config.checks import nearest
from sciriff.recreate.corpus import Record
from sciriff.recreate.readers.annotated_text import AnnotatedText, Entity
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line


def pubmed(name: str) -> str:
    """Document key of a PubMed abstract."""
    return f"pmid:{name}"


def pubmed_central(name: str) -> str:
    """Document key of a full text of PubMed Central."""
    return f"pmc:{name}"


def bigbio_records(documents: Iterable[AnnotatedText], key: Callable[[str], str] = pubmed) -> Iterator[Record]:
    """Put documents into BigBio's shape, as far as formatters read it. `key` makes document keys from names."""
    for document in documents:
        yield {
            "document_id": document.name,
            "passages": [
                {"type": part.type, "text": [part.text], "offsets": [[part.start, part.start + len(part.text)]]}
                for part in document.passages
            ],
            "entities": [{"id": entity.id, "type": entity.type, **_mention(entity)} for entity in document.entities],
            "events": [
                {
                    "id": event.id,
                    "type": event.type,
                    "trigger": _mention(event.trigger),
                    "arguments": [{"role": role, "ref_id": reference} for role, reference in event.arguments],
                }
                for event in document.events
            ],
            "_documents": [key(document.name)],
        }


def renamed(documents: Iterable[AnnotatedText], types: Mapping[str, str | None]) -> Iterator[AnnotatedText]:
    """Rename types of entities; drop those of a type whose name is None."""
    for document in documents:
        names = ((entity, types.get(entity.type, entity.type)) for entity in document.entities)
        yield replace(document, entities=tuple(replace(entity, type=name) for entity, name in names if name))


def _mention(entity: Entity) -> dict[str, Any]:
    return {"text": list(entity.pieces), "offsets": [list(span) for span in entity.spans]}


def abstract(record: Record) -> str:
    """Join the text of a record: the pieces of a passage by blanks, and the passages by blanks."""
    passages = items(record, "passages")
    return " ".join(" ".join(texts(passage, f"passages[{i}]")).strip() for i, passage in enumerate(passages))


def items(fields: Any, name: str, place: str = "") -> list[Any]:
    """Return the list in a field of a record; UserError names the field."""
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, list):
        where = f"{place}.{name}" if place else name
        raise UserError(f"{where}: must be a list, and is {shown(value)}")
    return value


def texts(fields: Any, place: str) -> list[str]:
    """Return the pieces of the text of a passage, mention or trigger; UserError names the field."""
    pieces = items(fields, "text", place)
    if not all(isinstance(piece, str) for piece in pieces):
        raise UserError(f"{place}.text: must be a list of strings, and is {shown(pieces)}")
    return pieces


def names_of_types(argument: str, types_map: Any) -> dict[str, str]:
    """Read `SOURCE:NAME,SOURCE:NAME,...`, a formatter's argument: the types of a corpus and their names in a task."""
    if not isinstance(types_map, str):
        raise UserError(f"{argument}: must be the text SOURCE:NAME,SOURCE:NAME,..., and is {shown(types_map)}")
    return _names_of_types(argument, types_map)


@lru_cache  # it is asked for each record
def _names_of_types(argument: str, types_map: str) -> dict[str, str]:
    names = {}
    for pair in types_map.split(","):
        source, colon, name = pair.strip().partition(":")
        if not (source and colon and name) or ":" in name:
            raise UserError(f"{argument}: must be SOURCE:NAME,SOURCE:NAME,..., and has {shown(pair)}")
        names[source] = name
    return names


def name_of_type(source: Any, names: dict[str, str], argument: str, place: str) -> str:
    """Return the name of a type; UserError for one that the argument does not map."""
    if not isinstance(source, str) or source not in names:
        hint = nearest(visible_line(source)[:60], map(visible_line, names))
        raise UserError(f"{place}: {shown(source)} is not in {argument}{hint}")
    return names[source]
