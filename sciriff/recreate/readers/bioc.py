"""Read BioC collections in XML or JSON."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.recreate.readers.annotated_text import AnnotatedText, Entity, Passage, cut
from sciriff.recreate.readers.text_lines import utf8
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line


def bioc_documents(path: Path) -> Iterator[AnnotatedText]:
    """Read the documents of a collection: XML is streamed, JSON held whole. Annotations that mark no text, for want
    of a location or because their passage has none, are passed over. UserError names the file and the line or the
    document."""
    with path.open("rb") as file:
        is_xml = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    for number, fields in enumerate(_xml_documents(path) if is_xml else _json_documents(path), 1):
        yield _document(f"{path}: document {number}", fields)


def _json_documents(path: Path) -> Iterator[Any]:
    text = utf8(str(path), path.read_bytes())
    try:
        collection = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    yield from _field(str(path), collection, "documents", list)


def _xml_documents(path: Path) -> Iterator[dict[str, Any]]:
    """The documents in the form of BioC's JSON. The parser loads no DTD and no external entity."""
    try:
        events = ET.iterparse(path, ["start", "end"])
        _, collection = next(events)
        if collection.tag != "collection":
            raise UserError(f"{path}: not BioC, which is a <collection>, but <{visible_line(collection.tag)[:40]}>")
        for event, element in events:
            if event == "end" and element.tag == "document":
                yield {
                    "id": element.findtext("id"),
                    "passages": [_xml_passage(each) for each in element.iter("passage")],
                }
                collection.clear()  # or all documents stay in memory
    except ET.ParseError as error:
        raise UserError(f"{path}:{error.position[0]}: not XML ({error})") from None


def _xml_passage(passage: ET.Element) -> dict[str, Any]:
    annotations = [
        {
            "id": annotation.get("id"),
            "infons": _infons(annotation),
            "text": annotation.findtext("text"),
            "locations": [dict(location.items()) for location in annotation.iter("location")],
        }
        for annotation in passage.iter("annotation")
    ]
    return {
        "infons": _infons(passage),
        "offset": passage.findtext("offset"),
        "text": passage.findtext("text"),
        "sentences": passage.findall("sentence"),
        "annotations": annotations,
    }


def _infons(element: ET.Element) -> dict[str, str]:
    return {infon.get("key", ""): infon.text or "" for infon in element.findall("infon")}


def _document(place: str, fields: Any) -> AnnotatedText:
    name = str(_field(place, fields, "id", (str, int)))
    place = f"{place} ({shown(name)})"
    passages, entities = [], []
    for passage in _field(place, fields, "passages", list):
        if isinstance(passage, dict) and passage.get("text") is None:
            if passage.get("sentences"):
                raise UserError(f"{place}: its text stands in sentences; join them to passages, which alone are read")
            continue
        text, infons = _field(place, passage, "text", str), passage.get("infons")
        kind = str(infons.get("type", "")) if isinstance(infons, dict) else ""
        passages.append(Passage(kind, text, _number(place, passage, "offset")))
        for annotation in _field(place, passage, "annotations", list):
            entities += _entity(place, annotation)
    return AnnotatedText(name, tuple(passages), tuple(entities))


def _entity(place: str, annotation: Any) -> list[Entity]:
    identifier = str(_field(place, annotation, "id", (str, int)))
    place = f"{place}, annotation {shown(identifier)}"
    kind = str(_field(place, _field(place, annotation, "infons", dict), "type", str))
    spans = []
    for location in _field(place, annotation, "locations", list):
        start = _number(place, location, "offset")
        spans.append((start, start + _number(place, location, "length")))
    return [Entity(identifier, kind, cut(_field(place, annotation, "text", str), spans), tuple(spans))] if spans else []


def _field(place: str, fields: Any, name: str, kind: Any) -> Any:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, kind):
        raise UserError(f"{place}: not BioC, {name!r} is missing or of type {type(value).__name__}")
    return value


def _number(place: str, fields: Any, name: str) -> int:
    value = _field(place, fields, name, (str, int))
    try:
        return int(value)
    except ValueError:
        raise UserError(f"{place}: not BioC, {name!r} is no number") from None
