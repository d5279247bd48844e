"""Read JSON: a record a line, a list of records, or one value that fills the file."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from sciriff.data.source_rows import LFS, line_rows, list_rows
from sciriff.run.typed_json import WrongType, parsed_json, typed
from sciriff.run.user_error import UserError

T = TypeVar("T")


def json_lines(path: Path, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Stream the objects of a file of JSON lines as `kind`, each with its place (`train.jsonl:17`) for messages."""
    with path.open("rb") as file:
        refuse_pointer(path, file.read(len(LFS)))
        file.seek(0)
        for where, row in line_rows(path, file):
            yield where, _typed(where, row, kind)


def json_list(path: Path, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Yield the objects of a JSON list as `kind`, each with its place; the list is held whole."""
    content = _content(path)
    if not content.removeprefix(BOM_UTF8).lstrip().startswith(b"["):
        raise UserError(f"{path}: not a JSON list of records; fetch the file again")
    for where, row in list_rows(path, content):
        yield where, _typed(where, row, kind)


def json_value(path: Path, kind: type[T], what: str) -> T:
    """Read a file that is one JSON value as `kind`. UserError says that it is not `what`, and where it breaks."""
    return parsed_json(_content(path), kind, path, what, "fetch the file again")


def _typed(where: str, row: dict[str, Any], kind: type[T]) -> T:
    try:
        return typed(row, kind)
    except WrongType as error:
        raise UserError(f"{where}: {error}") from None


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    refuse_pointer(path, content)
    return content


def refuse_pointer(path: Path, content: bytes) -> None:
    """UserError for the content, or how it begins, of a file that Git LFS has not fetched."""
    if content.startswith(LFS):
        raise UserError(f"{path}: a pointer to a file that Git LFS keeps elsewhere; run `git lfs pull`")
