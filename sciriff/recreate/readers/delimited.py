"""Read tables of delimited text: CSV with its quotes, and TSV, which has none."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from sciriff.data.source_rows import LFS, MOST_LINE_BYTES
from sciriff.recreate.readers.json_files import refuse_pointer
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

LONGEST_SHOWN = 200
"""Characters of the columns' names shown in an error."""


def csv_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Stream the rows of a CSV file with their places; the names of the columns are `columns`, else its first row.

    A quoted value may hold commas, doubled quotes and line ends, which stay as they are. The place of a row is the
    line that it begins on. Rows of white space alone are skipped; those with more or fewer values than there are
    columns are refused.
    """
    yield from _rows(path, columns, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def tsv_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Stream the rows of a file of tab-separated values, as `csv_rows`; a quotation mark is text like any other."""
    yield from _rows(path, columns, delimiter="\t", quoting=csv.QUOTE_NONE)


def quoted_tsv_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Stream the rows of a file of tab-separated values with the quotes of CSV, as programs write it."""
    yield from _rows(path, None, delimiter="\t", quoting=csv.QUOTE_MINIMAL)


def _rows(
    path: Path, columns: Sequence[str] | None, *, delimiter: str, quoting: int
) -> Iterator[tuple[str, dict[str, str]]]:
    csv.field_size_limit(MOST_LINE_BYTES)  # else 131,072 characters, which a whole paper exceeds
    begins, names = 1, columns
    try:
        with path.open("rb") as file:
            refuse_pointer(path, file.read(len(LFS)))
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
            for values in reader:
                where, begins = f"{path}:{begins}", reader.line_num + 1
                if not any(value.strip() for value in values):
                    continue
                if names is None:
                    names = values
                    if len(set(names)) < len(names) or not all(names):
                        raise UserError(f"{where}: the first line must name the columns, each by a name of its own")
                    continue
                if len(values) != len(names):
                    columns_shown = visible_line(", ".join(names))[:LONGEST_SHOWN]
                    raise UserError(f"{where}: {len(values)} values for the {len(names)} columns {columns_shown}")
                yield where, dict(zip(names, values, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}:{begins}: {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{begins}: not UTF-8 in this line or soon after ({error.reason})") from None
