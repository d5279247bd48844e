"""Read the rows of a data source: local jsonl, json and parquet files, or a dataset of the Hugging Face hub."""

import gzip
import json
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from sciriff.config import SourceConfig
from sciriff.source_files import source_files

PARQUET_BATCH_ROWS = 256

UNDECODED = re.compile(r"[\udc80-\udcff]")
"""Bytes that are not UTF-8, as Python's `surrogateescape` keeps them."""

Rows = Iterator[tuple[str, dict[str, Any]]]
"""(where it stands, the row)"""

OnUnreadable = Callable[[str, str], None]
"""Is told (where it stands, the reason) of a line or row that cannot be decoded, and raises or lets it be passed by."""


class MissingSplit(ValueError):
    """A hub dataset without the split that was asked for."""


class OutOfReach(ValueError):
    """A hub dataset that cannot be had from here: no network, no copy, or no permission."""


def refuse(where: str, reason: str) -> None:
    """ValueError for a row that cannot be decoded."""
    raise ValueError(f"{where}: {reason}")


def read_rows(source: SourceConfig, on_unreadable: OnUnreadable = refuse) -> Rows:
    """Every row of a source with the place where it stands, such as `data/train.jsonl:17`, as a stream.

    Local files are read in the order of their names. ValueError, in one line, names the file that cannot be read to its
    end, or says what keeps a hub dataset away and what to do about it; so does by default one row that is no row.
    """
    if source.path is None:
        yield from _hub_rows(source)
        return
    for path in source_files(source):
        if path.name.endswith(".parquet"):
            yield from _parquet_rows(path, on_unreadable)
        else:
            yield from _json_rows(path, on_unreadable)


def _json_rows(path: Path, on_unreadable: OnUnreadable) -> Rows:
    """Rows of JSON lines, or of one JSON list (a `.json` file may be either)."""
    with path.open("rb") as file:
        if path.name.endswith(".gz"):
            yield from _gzip_rows(path, file, on_unreadable)
        elif path.name.endswith(".json") and _first_character(file) == b"[":
            yield from _list_rows(path, file.read(), on_unreadable)
        else:
            yield from _line_rows(path, file, on_unreadable)


def _gzip_rows(path: Path, file: IO[bytes], on_unreadable: OnUnreadable) -> Rows:
    try:
        if not path.stat().st_size:  # gzip itself takes it for a file without rows
            raise EOFError("the file is empty")
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield from _line_rows(path, unpacked, on_unreadable)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged or only half there ({error}); fetch it again") from None


def _first_character(file: IO[bytes]) -> bytes:
    """The first that is neither white space nor a byte order mark; the file is rewound."""
    if file.read(len(BOM_UTF8)) != BOM_UTF8:
        file.seek(0)
    while (character := file.read(1)).isspace():
        pass
    file.seek(0)
    return character


def _line_rows(path: Path, file: Iterable[bytes], on_unreadable: OnUnreadable) -> Rows:
    for number, line in enumerate(file, 1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            row = _object(_parsed(_text(line)))
        except _Unreadable as reason:
            on_unreadable(where, str(reason))
        else:
            yield where, row


def _list_rows(path: Path, content: bytes, on_unreadable: OnUnreadable) -> Rows:
    """Rows of one JSON list. Bytes that are not UTF-8 are kept as lone surrogates, by which their row is known."""
    text = content.decode("utf-8-sig", errors="surrogateescape")
    undecoded = UNDECODED.search(text) is not None
    try:
        rows = _parsed(text)
    except _Unreadable as reason:
        raise ValueError(f"{path}: {reason}") from None
    for number, item in enumerate(rows, 1):
        where = f"{path}: row {number}"
        try:
            row = _object(item)
            if undecoded and UNDECODED.search(json.dumps(row, ensure_ascii=False)):
                raise _Unreadable("not UTF-8")
        except _Unreadable as reason:
            on_unreadable(where, str(reason))
        else:
            yield where, row


class _Unreadable(Exception):
    """What keeps bytes from being a row."""


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(f"not UTF-8 (byte {error.start}: {error.reason})") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Unreadable(f"not JSON ({error})") from None


def _object(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise _Unreadable(f"a row must be a JSON object, and this is of type {type(row).__name__}")
    return row


def _parquet_rows(path: Path, on_unreadable: OnUnreadable) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                for row in _batch_rows(batch):
                    number += 1
                    where = f"{path}: row {number}"
                    if isinstance(row, UnicodeDecodeError):
                        on_unreadable(where, f"not UTF-8 (byte {row.start}: {row.reason})")
                    else:
                        yield where, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = _first_line(error)
        raise ValueError(f"{path}: damaged or only half there, after row {number} ({reason}); fetch it again") from None


def _batch_rows(batch: Any) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    """The rows of an Arrow batch. Arrow does not look into strings until they are wanted: where one of them is not
    UTF-8, the rows are taken one by one, and the error stands in the place of its row."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            try:
                yield batch.slice(i, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield error


def _hub_rows(source: SourceConfig) -> Rows:
    assert source.hub is not None, "a source with neither path nor hub does not exist"
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    name = " ".join(
        [source.hub] + [f"{key}={value}" for key in ("config", "split", "revision") if (value := getattr(source, key))]
    )
    try:
        rows = load_dataset(source.hub, source.config, split=source.split, revision=source.revision, streaming=False)
    except DatasetNotFoundError as error:
        raise OutOfReach(
            f"{name}: {_first_line(error)} If it is private or asks you to accept a licence, do so at "
            f"https://huggingface.co/datasets/{source.hub} and set HF_TOKEN (or `hf auth login`); "
            "or name a local copy with this source's `path`"
        ) from None
    except OSError as error:  # no network, HF_HUB_OFFLINE without a cached copy, an error of the server
        raise OutOfReach(
            f"{name}: cannot be fetched ({_first_line(error)}). Without a network, download it where there is one and "
            "either copy HF_HOME here and set HF_HUB_OFFLINE=1, or name a local copy with this source's `path`"
        ) from None
    except (DatasetsError, ValueError, RuntimeError) as error:  # no such configuration or split; files it cannot read
        kind = MissingSplit if str(error).startswith("Unknown split") else ValueError
        raise kind(f"{name}: cannot be read ({_first_line(error)})") from None
    for number, row in enumerate(rows, 1):
        yield f"{name}: row {number}", row


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
