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
    thought: str | None = None
    """What an assistant thinks before it answers; left out of JSON if it is None."""


UNWRITTEN_IF_NONE = ("sample", "thought", "thought_tokens")
"""Keys that came later than the files that are to stay as they are."""

_encoded = json.JSONEncoder(ensure_ascii=False).encode


def dumps(row: Any) -> str:
    """Format JSON on one line, without its newline. Text with lone surrogates, which models emit, is escaped."""
    text = _encoded(row)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(row)
    return text


def to_json(row: Any) -> str:
    """Format a record as a JSON line; keys that most rows and messages do not need are left out where they are None."""
    values = msgspec.to_builtins(row)
    for message in values.get("messages", ()):
        if message.get("thought", 0) is None:
            del message["thought"]
    return dumps({key: value for key, value in values.items() if value is not None or key not in UNWRITTEN_IF_NONE})


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write records or dicts, whole or not at all."""
    with whole(path) as file:
        for row in rows:
            file.write((dumps(row) if isinstance(row, dict) else to_json(row)) + "\n")


def append_jsonl(path: Path, row: Any) -> None:
    """Append a record to a file; it is on the disk when this returns."""
    append_lines(path, [to_json(row) + "\n"])


def repair_last_line(path: Path) -> bool:
    """End a file that a killed process was writing in a whole line. Returns whether half a line was cut off."""
    data = path.read_bytes() if path.is_file() else b""
    if not data or data.endswith(b"\n"):
        return False
    start = data.rfind(b"\n") + 1
    try:
        complete = isinstance(json.loads(data[start:]), dict)
    except (ValueError, RecursionError):
        complete = False
    with path.open("r+b") as file:
        if complete:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        else:
            file.truncate(start)
        file.flush()
        os.fsync(file.fileno())
    return not complete


def read_json_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, object) of each line that is not empty; a place is `file:line`, from 1, as UserError names it."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path}:{number}", json_object(line, path, number)


def json_object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """Parse one line of a file. UserError as `read_json_objects`."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}:{number}: not a line of JSON ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
    return row


def read_jsonl(path: Path, kind: type[T], fix: str = "") -> Iterator[T]:
    """Yield the records of a file; unknown keys are ignored. UserError names file, line, key and how to `fix` it."""
    for place, row in read_json_objects(path):
        yield record(row, kind, place, fix)


def record_of(line: bytes, kind: type[T], path: Path, number: int) -> T:
    """Parse the record on line `number` (from 1) of a file. UserError as `read_jsonl`."""
    return record(json_object(line, path, number), kind, f"{path}:{number}")


def record(row: dict[str, Any], kind: type[T], place: str, fix: str = "") -> T:
    """Convert a row to a record. UserError names its `place`, the key that is wrong and how to `fix` it."""
    try:
        return typed(row, kind)
    except WrongType as error:
        raise UserError(f"{place}: {error}" + (f"; {fix}" if fix else "")) from None
