"""Read the rows of a data source: local jsonl, json and parquet files, or a dataset of the Hugging Face hub."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from sciriff.config import SourceConfig
from sciriff.source_files import source_files

PARQUET_BATCH_ROWS = 256


def read_rows(source: SourceConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of a source with the place where it stands, such as `data/train.jsonl:17`, as a stream.

    Local files are read in the order of their names. ValueError, in one line, names the file (and line) that cannot be
    read, or says what keeps a hub dataset away and what to do about it.
    """
    if source.path is None:
        yield from _hub_rows(source)
        return
    for path in source_files(source):
        if path.name.endswith(".parquet"):
            yield from _parquet_rows(path)
        else:
            yield from _json_rows(path)


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of JSON lines, or of one JSON list (a `.json` file may be either)."""
    with path.open("rb") as file:
        if path.name.endswith(".gz"):
            yield from _gzip_rows(path, file)
        elif path.name.endswith(".json") and _first_character(file) == b"[":
            yield from _list_rows(path, file.read())
        else:
            yield from _line_rows(path, file)


def _gzip_rows(path: Path, file: IO[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        if not path.stat().st_size:  # gzip itself takes it for a file without rows
            raise EOFError("the file is empty")
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield from _line_rows(path, unpacked)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged or only half there ({error}); fetch it again") from None


def _first_character(file: IO[bytes]) -> bytes:
    """The first that is not white space; the file is rewound."""
    while (character := file.read(1)).isspace():
        pass
    file.seek(0)
    return character


def _line_rows(path: Path, file: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        where = f"{path}:{number}"
        if line.strip():
            yield where, _object(where, _parsed(where, line))


def _list_rows(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(_parsed(str(path), content), 1):
        where = f"{path}: row {number}"
        yield where, _object(where, row)


def _parsed(where: str, content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 (byte {error.start}: {error.reason})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from None


def _object(where: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a row must be a JSON object, and this is of type {type(row).__name__}")
    return row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = _first_line(error)
        raise ValueError(f"{path}: damaged or only half there, after row {number} ({reason}); fetch it again") from None


def _hub_rows(source: SourceConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    assert source.hub is not None, "a source with neither path nor hub does not exist"
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    name = " ".join(
        [source.hub] + [f"{key}={value}" for key in ("config", "split", "revision") if (value := getattr(source, key))]
    )
    try:
        rows = load_dataset(source.hub, source.config, split=source.split, revision=source.revision, streaming=False)
    except DatasetNotFoundError as error:
        raise ValueError(
            f"{name}: {_first_line(error)} If it is private or asks you to accept a licence, do so at "
            f"https://huggingface.co/datasets/{source.hub} and set HF_TOKEN (or `hf auth login`); "
            "or name a local copy with this source's `path`"
        ) from None
    except OSError as error:  # no network, HF_HUB_OFFLINE without a cached copy, an error of the server
        raise ValueError(
            f"{name}: cannot be fetched ({_first_line(error)}). Without a network, download it where there is one and "
            "either copy HF_HOME here and set HF_HUB_OFFLINE=1, or name a local copy with this source's `path`"
        ) from None
    except (DatasetsError, ValueError, RuntimeError) as error:  # no such configuration or split; files it cannot read
        raise ValueError(f"{name}: cannot be read ({_first_line(error)})") from None
    for number, row in enumerate(rows, 1):
        yield f"{name}: row {number}", row


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
