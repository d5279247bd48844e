"""Read the rows of a data source: local jsonl, json, parquet and csv files, or a dataset of the Hugging Face hub."""

import gzip
import json
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sciriff.config import SourceConfig
from sciriff.data.delimited import MOST_LINE_BYTES, Binary, Rows, is_table, table_columns, table_rows
from sciriff.data.hub_rows import Choose, first_line, hub_rows, schema_names
from sciriff.data.source_files import source_files
from sciriff.run.user_error import UserError

COLUMNS = ("input", "output", "metadata", "_instance_id", "dataset", "id", "messages")
"""Columns of SciRIFF's and Tulu-V2's rows. Others are not read: they may hold values that Python has no type for."""

PARQUET_BATCH_ROWS = 256

HEAD_ROWS = 100
"""Rows at the beginning of a JSON file that show which keys its rows have."""
MOST_NAMES, LONGEST_NAME, DEEPEST = 1000, 1000, 5
"""Limits of the keys that are noted: how many, of how many characters, and how deeply nested."""

GZIP, PARQUET, LFS = b"\x1f\x8b", b"PAR1", b"version https://git-lfs"
"""First bytes of compressed files, of Parquet tables, and of pointers to a file that Git LFS keeps elsewhere."""

UNDECODED = re.compile(r"[\udc80-\udcff]")
"""Bytes that are not UTF-8, as Python's `surrogateescape` keeps them."""

OnUnreadable = Callable[[str, str], None]
"""Called with (place, reason) for a line or row that cannot be decoded; raises, or returns to skip it."""


def refuse(where: str, reason: str) -> None:
    """UserError for a row that cannot be decoded."""
    raise UserError(f"{where}: {reason}")


def known_columns(where: str, names: Collection[str]) -> list[str]:
    """Choose COLUMNS."""
    return [name for name in names if name in COLUMNS]


def read_rows(
    source: SourceConfig,
    on_unreadable: OnUnreadable = refuse,
    on_commit: Callable[[str], None] = lambda commit: None,
    choose: Choose = known_columns,
) -> Rows:
    """Stream every row of a source with its place, such as `data/train.jsonl:17`.

    Local files are read in the order of their names; their first bytes decide the format, else their name. UserError
    names a file that cannot be read to its end, the reason why a hub dataset is out of reach, and by default a broken
    row. `on_commit` is called with the commit of a hub dataset. Of parquet files and hub datasets, only the columns are
    read that `choose` returns.
    """
    if source.path is None:
        yield from hub_rows(source, choose, on_commit)
        return
    for path in source_files(source):
        yield from _file_rows(path, on_unreadable, choose)


def names_there(path: Path) -> list[str]:
    """Names of the columns of a file, and of what is nested in them (`meta.question`), without reading it: those that a
    table or schema names, else the keys of the first HEAD_ROWS rows. UserError for a file that cannot be read."""
    names: dict[str, None] = {}

    def choose(where: str, known: Collection[str]) -> list[str]:
        names.update(dict.fromkeys(known))
        return []

    for _, row in islice(_file_rows(path, lambda where, reason: None, choose, head=True), HEAD_ROWS):
        _note_keys(row, names)
    return list(names)


def _note_keys(row: dict[str, Any], names: dict[str, None], before: str = "", depth: int = 1) -> None:
    for key, value in row.items():
        if len(names) >= MOST_NAMES or len(key) > LONGEST_NAME:
            continue
        names[before + key] = None
        if isinstance(value, dict) and depth < DEEPEST:
            _note_keys(value, names, f"{before}{key}.", depth + 1)


def _file_rows(path: Path, on_unreadable: OnUnreadable, choose: Choose, *, head: bool = False) -> Rows:
    """Stream the rows of a file; with `head` none of a file that names its columns, which `choose` is given."""
    with path.open("rb") as file:
        begins = file.read(len(LFS))
        file.seek(0)
        if begins == LFS:
            raise UserError(f"{path}: a pointer to a file that Git LFS keeps elsewhere; run `git lfs pull`")
        if begins.startswith(PARQUET) or path.name.endswith(".parquet"):
            yield from _parquet_rows(path, on_unreadable, choose, head)
        elif begins.startswith(GZIP) or path.name.endswith(".gz"):
            yield from _gzip_rows(path, file, on_unreadable, choose, head)
        elif path.name.endswith(".json") and _first_character(file) == b"[":  # else it is of JSON lines
            yield from list_rows(path, file.read(), on_unreadable)
        else:
            yield from _text_rows(path, file, on_unreadable, choose, head)


def _text_rows(path: Path, file: Binary, on_unreadable: OnUnreadable, choose: Choose, head: bool) -> Rows:
    if not is_table(path):
        yield from line_rows(path, file, on_unreadable)
    elif head:
        choose(str(path), table_columns(path, file))
    else:
        yield from table_rows(path, file, on_unreadable)


def _gzip_rows(path: Path, file: IO[bytes], on_unreadable: OnUnreadable, choose: Choose, head: bool) -> Rows:
    try:
        if not path.stat().st_size:  # gzip itself takes it for a file without rows
            raise EOFError("the file is empty")
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield from _text_rows(path, unpacked, on_unreadable, choose, head)
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


def line_rows(path: Path, file: Binary, on_unreadable: OnUnreadable = refuse) -> Rows:
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


def _parquet_rows(path: Path, on_unreadable: OnUnreadable, choose: Choose, head: bool) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = choose(str(path), schema_names(file.schema_arrow))
            if head:
                return
            for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=columns):
                for row in _batch_rows(batch):
                    number += 1
                    where = f"{path}: row {number}"
                    if isinstance(row, UnicodeDecodeError):
                        on_unreadable(where, f"not UTF-8 (byte {row.start}: {row.reason})")
                    else:
                        yield where, row
    except UserError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = first_line(error)
        raise UserError(f"{path}: damaged or only half there, after row {number} ({reason}); fetch it again") from None
    except (ArithmeticError, LookupError, ValueError) as error:  # such as a time zone that is not known here
        where = f"{path}: after row {number}"
        raise UserError(f"{where}: a value that cannot be read ({first_line(error)}); leave its column out") from None


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
