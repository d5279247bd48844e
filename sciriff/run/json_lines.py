"""Read, write and append JSON lines, in which rows travel between stages."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sciriff.run.typed_json import WrongType, typed
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import append_lines, whole

T = TypeVar("T")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


_encoded = json.JSONEncoder(ensure_ascii=False).encode


def dumps(row: Any) -> str:
    """One compact JSON line without its newline. Lone surrogates (models do emit them) stay escaped, so it encodes."""
    text = _encoded(row)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(row)
    return text


def to_json(row: Any) -> str:
    """The JSON line of a record, without the `sample` of one that is no sample."""
    values = msgspec.to_builtins(row)
    if values.get("sample", 0) is None:
        del values["sample"]
    return dumps(values)


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write records or plain dicts, whole or not at all."""
    with whole(path) as file:
        for row in rows:
            file.write((dumps(row) if isinstance(row, dict) else to_json(row)) + "\n")


def append_jsonl(path: Path, row: Any) -> None:
    """Add a record to a file, and return when it is on the disk."""
    append_lines(path, [to_json(row) + "\n"])


def repair_last_line(path: Path) -> bool:
    """Make a file that a killed process was writing to end in a whole line. Returns whether half a line was cut off."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return False
    start = data.rfind(b"\n") + 1
    try:
        whole = isinstance(json.loads(data[start:]), dict)
    except (ValueError, RecursionError):
        whole = False
    with path.open("r+b") as file:
        if whole:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        else:
            file.truncate(start)
        file.flush()
        os.fsync(file.fileno())
    return not whole


def read_json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of every non-empty line. UserError names file and line of one that is broken."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, json_object(line, path, number)


def json_object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """The object on one line of a file, as `read_json_objects`."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}:{number}: not a line of JSON ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
    return row


def read_jsonl(path: Path, kind: type[T], fix: str = "") -> Iterator[T]:
    """Records of one kind. Keys that the record does not have are ignored. UserError names file, line and key of what
    is broken or missing, and how to `fix` it."""
    for number, row in read_json_objects(path):
        yield record(row, kind, f"{path}:{number}", fix)


def record_of(line: bytes, kind: type[T], path: Path, number: int) -> T:
    """The record on one line of a file; `path` and `number` (from 1) are for the UserError. As `read_jsonl`."""
    return record(json_object(line, path, number), kind, f"{path}:{number}")


def record(row: dict[str, Any], kind: type[T], place: str, fix: str = "") -> T:
    """A row as a record. UserError names the `place` of one that is none, its key and how to `fix` it."""
    try:
        return typed(row, kind)
    except WrongType as error:
        raise UserError(f"{place}: {error}" + (f"; {fix}" if fix else "")) from None
