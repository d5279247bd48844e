"""Read records of any fields from JSON lines, JSON, CSV, TSV and Parquet files, one's own or a corpus's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.config import SourceConfig
from sciriff.data.source_rows import LFS, read_rows
from sciriff.recreate.readers.delimited import csv_rows, quoted_tsv_rows
from sciriff.recreate.readers.json_files import refuse_pointer
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".tsv", ".parquet")


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stream (place, record). The first line of a table names its fields. UserError names a broken line."""
    if path.name.endswith(".csv"):
        yield from csv_rows(path)
    elif path.name.endswith(".tsv"):
        yield from quoted_tsv_rows(path)
    elif path.name.endswith(".parquet"):
        yield from _parquet(path)
    else:
        yield from read_rows(SourceConfig(path=str(path)))


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as begins:
        refuse_pointer(path, begins.read(len(LFS)))
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(256):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", record
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = visible_line(str(error).split("\n", 1)[0])[:200]
        raise UserError(f"{path}: damaged, after row {number} ({reason})") from None
