"""Read the rows of a data source: local jsonl, json and parquet files, or a dataset of the Hugging Face hub."""

import gzip
import json
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from sciriff.config import SourceConfig
from sciriff.data.hub_rows import first_line, hub_rows
from sciriff.data.source_files import source_files
from sciriff.run.user_error import UserError

COLUMNS = ("input", "output", "metadata", "_instance_id", "dataset", "id", "messages")
"""Columns of both row formats. Others are not read: they may hold values that Python has no type for."""

PARQUET_BATCH_ROWS = 256

MOST_LINE_BYTES = 64_000_000
"""Limit of one line: a file that is no JSON lines may have a single one of any length, and a small gz file too."""

GZIP, PARQUET, LFS = b"\x1f\x8b", b"PAR1", b"version https://git-lfs"
"""First bytes of compressed files, of Parquet tables, and of pointers to a file that Git LFS keeps elsewhere."""

UNDECODED = re.compile(r"[\udc80-\udcff]")
"""Bytes that are not UTF-8, as Python's `surrogateescape` keeps them."""

Rows = Iterator[tuple[str, dict[str, Any]]]
"""(place, row)"""

OnUnreadable = Callable[[str, str], None]
"""Called with (place, reason) for a line or row that cannot be decoded; raises, or returns to skip it."""


def refuse(where: str, reason: str) -> None:
    """UserError for a row that cannot be decoded."""
    raise UserError(f"{where}: {reason}")


def read_rows(
    source: SourceConfig, on_unreadable: OnUnreadable = refuse, on_commit: Callable[[str], None] = lambda commit: None
) -> Rows:
    """Stream every row of a source with its place, such as `data/train.jsonl:17`.

    Local files are read in the order of their names; their first bytes decide the format, else their name. UserError
    names a file that cannot be read to its end, the reason why a hub dataset is out of reach, and by default a broken
    row. `on_commit` is called with the commit of a hub dataset.
    """
    if source.path is None:
        yield from hub_rows(source, COLUMNS, on_commit)
        return
    for path in source_files(source):
        with path.open("rb") as file:
            begins = file.read(len(LFS))
            file.seek(0)
            if begins == LFS:
                raise UserError(f"{path}: a pointer to a file that Git LFS keeps elsewhere; run `git lfs pull`")
            if begins.startswith(PARQUET) or path.name.endswith(".parquet"):
                yield from _parquet_rows(path, on_unreadable)
            elif begins.startswith(GZIP) or path.name.endswith(".gz"):
                yield from _gzip_rows(path, file, on_unreadable)
            elif path.name.endswith(".json") and _first_character(file) == b"[":  # else it is of JSON lines
                yield from list_rows(path, file.read(), on_unreadable)
            else:
                yield from line_rows(path, file, on_unreadable)


def _gzip_rows(path: Path, file: IO[bytes], on_unreadable: OnUnreadable) -> Rows:
    try:
        if not path.stat().st_size:  # gzip itself takes it for a file without rows
            raise EOFError("the file is empty")
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield from line_rows(path, unpacked, on_unreadable)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged or only half there ({error}); fetch it again") from None


def _first_character(file: IO[bytes]) -> bytes:
    """The first character that is neither white space nor a byte order mark; the file is rewound."""
    if file.read(len(BOM_UTF8)) != BOM_UTF8:
        file.seek(0)
    while (character := file.read(1)).isspace():
        pass
    file.seek(0)
    return character


def line_rows(path: Path, file: IO[bytes] | gzip.GzipFile, on_unreadable: OnUnreadable = refuse) -> Rows:
    """Rows of JSON lines."""
    lines = iter(partial(file.readline, MOST_LINE_BYTES + 1), b"")
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if len(line) > MOST_LINE_BYTES:
            problem = f"{where}: longer than {MOST_LINE_BYTES:,} bytes"
            raise UserError(f"{problem}; a file of JSON lines has a row on each line")
        if line.strip():
            yield from _row(where, line, on_unreadable)


def list_rows(path: Path, content: bytes, on_unreadable: OnUnreadable = refuse) -> Rows:
    """Rows of a JSON list, which is held whole. Bytes that are not UTF-8 become lone surrogates, to mark their row."""
    text = content.decode("utf-8-sig", errors="surrogateescape")
    undecoded = UNDECODED.search(text) is not None
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    for number, row in enumerate(rows, 1):
        where = f"{path}: row {number}"
        if undecoded and UNDECODED.search(json.dumps(row, ensure_ascii=False)):
            on_unreadable(where, "not UTF-8")
        else:
            yield from _row(where, row, on_unreadable)


def _row(where: str, row: Any, on_unreadable: OnUnreadable) -> Rows:
    """The row, parsed if it is bytes, or nothing if it is no JSON object."""
    try:
        row = json.loads(row.decode("utf-8-sig")) if isinstance(row, bytes) else row
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 (byte {error.start}: {error.reason})"
    except (ValueError, RecursionError) as error:
        reason = f"not JSON ({error})"
    else:
        if isinstance(row, dict):
            yield where, row
            return
        reason = f"a row must be a JSON object, and this is of type {type(row).__name__}"
    on_unreadable(where, reason)


def _parquet_rows(path: Path, on_unreadable: OnUnreadable) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name in COLUMNS]
            for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=columns):
                for row in _batch_rows(batch):
                    number += 1
                    where = f"{path}: row {number}"
                    if isinstance(row, UnicodeDecodeError):
                        on_unreadable(where, f"not UTF-8 (byte {row.start}: {row.reason})")
                    else:
                        yield where, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = first_line(error)
        raise UserError(f"{path}: damaged or only half there, after row {number} ({reason}); fetch it again") from None


def _batch_rows(batch: Any) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    """Yield the rows of an Arrow batch; if a string is not UTF-8, one by one, with the error in place of its row."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            try:
                yield batch.slice(i, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield error
