"""Read brat's standoff annotations: a text file and, beside it, an `.ann` file. Both may stay inside a zip archive."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from sciriff.recreate.readers.annotated_text import AnnotatedText, Entity, Event, Passage, Span, cut
from sciriff.recreate.readers.text_lines import utf8
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError

MOST_MEMBER_BYTES = 64_000_000
"""Limit of one file inside an archive: a small archive can hold a huge one."""


def brat_documents(paths: Iterable[Path]) -> Iterator[AnnotatedText]:
    """Read the text files among `paths`, in their order, each with the `.ann` file beside it."""
    for path in paths:
        if path.suffix == ".txt":
            annotations = path.with_suffix(".ann")
            if not annotations.is_file():
                raise UserError(f"{path}: its annotations, {annotations.name}, are not beside it")
            text = utf8(str(path), path.read_bytes())
            yield brat_document(path.stem, text, str(annotations), annotations.read_bytes())


def brat_archive(path: Path, folder: str) -> Iterator[AnnotatedText]:
    """Read the documents below a folder of a zip archive, sorted by their names. Nothing is unpacked to disk."""
    with _undamaged(path):
        archive = zipfile.ZipFile(path)
    with archive:
        for name in sorted(set(archive.namelist())):
            member = PurePosixPath(name)
            if member.suffix == ".txt" and folder in member.parts[:-1] and not member.name.startswith("."):
                annotations = name.removesuffix(".txt") + ".ann"
                text = utf8(f"{path}, {shown(name)}", _member(path, archive, name))
                content = _member(path, archive, annotations)
                yield brat_document(member.stem, text, f"{path}, {shown(annotations)}", content)


def brat_document(name: str, text: str, place: str, annotations: bytes) -> AnnotatedText:
    """Build a document from its text and the content of its `.ann` file, whose place a UserError names with the line.

    Entities are the marked texts that trigger no event. Relations, attributes, notes and normalisations are passed
    over.
    """
    marked: list[Entity] = []
    events: list[tuple[str, str, list[list[str]]]] = []
    for number, raw in enumerate(utf8(place, annotations).split("\n"), 1):
        line, where = raw.rstrip("\r"), f"{place}:{number}"
        if line.startswith("T"):
            marked.append(_entity(where, line))
        elif line.startswith("E"):
            events.append((where, *_event(where, line)))
        elif line.strip() and line[0] not in "RAMN*#":
            raise UserError(f"{where}: an annotation begins with one of T E R A M N * #, not {shown(line)}")
    by_id = {entity.id: entity for entity in marked}
    found = []
    for where, identifier, ((kind, trigger), *arguments) in events:
        if trigger not in by_id:
            raise UserError(f"{where}: event {shown(identifier)} has the trigger {shown(trigger)}, which is not marked")
        roles = tuple((role, reference) for role, reference in arguments)
        found.append(Event(identifier, kind, by_id[trigger], roles))
    triggers = {event.trigger.id for event in found}
    entities = tuple(entity for entity in marked if entity.id not in triggers)
    passage = Passage("abstract", text.replace("\r\n", "\n").replace("\r", "\n"), 0)
    return AnnotatedText(name, (passage,), entities, tuple(found))


def _entity(place: str, line: str) -> Entity:
    """`T1<tab>TYPE START END[;START END...]<tab>TEXT`"""
    try:
        identifier, description, text = line.split("\t", 2)
        kind, places = description.split(" ", 1)
        spans: list[Span] = []
        for each in places.split(";"):
            start, end = each.split()
            spans.append((int(start), int(end)))
    except ValueError:
        raise UserError(f"{place}: not `T1<tab>TYPE START END<tab>TEXT`: {shown(line)}") from None
    return Entity(identifier, kind, cut(text, spans), tuple(spans))


def _event(place: str, line: str) -> tuple[str, list[list[str]]]:
    """`E1<tab>TYPE:TRIGGER ROLE:ARGUMENT ...`"""
    identifier, _, description = line.partition("\t")
    pairs = [each.rsplit(":", 1) for each in description.split()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise UserError(f"{place}: not `E1<tab>TYPE:T1 ROLE:T2 ...`: {shown(line)}")
    return identifier, pairs


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        size = archive.getinfo(name).file_size
    except KeyError:
        raise UserError(f"{path}: has no {shown(name)}; fetch the archive again") from None
    if size > MOST_MEMBER_BYTES:
        raise UserError(f"{path}: {shown(name)} would unpack to {size:,} bytes, more than {MOST_MEMBER_BYTES:,}")
    with _undamaged(path):
        return archive.read(name)


@contextlib.contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Make a UserError of what zipfile raises where it cannot read an archive: a RuntimeError if it is encrypted."""
    try:
        yield
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise UserError(f"{path}: damaged, encrypted or no zip archive ({error}); fetch it again") from None
