"""Read tables of delimited text: CSV, also with semicolons or tabs, and TSV."""

import csv
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterator
from gzip import GzipFile
from itertools import chain
from pathlib import Path
from typing import IO, Any

from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
DELIMITERS = ",;\t"

MOST_LINE_BYTES = 64_000_000
"""Limit of one line, or of one row of a table: a file that is no JSON lines may have a single line of any length, and
a small gz file too."""

MOST_COLUMNS = 10_000
NAMES_SHOWN = 20
LONGEST_NAME = 60
_QUOTED = re.compile(r'"[^"]*"')
_WORKBOOK = b"PK\x03\x04"

Binary = IO[bytes] | GzipFile

Rows = Iterator[tuple[str, dict[str, Any]]]
"""(place, row)"""


def is_table(path: Path) -> bool:
    """Whether a file's name says that it is of delimited text."""
    return path.name.endswith(TABLES)


def table_rows(path: Path, file: Binary, on_unreadable: Callable[[str, str], None]) -> Rows:
    """Stream the rows of a table with their places: the line on which a row begins. All values are text.

    The first line names the columns; a column without a name, such as the one that pandas writes first, is left out.
    The delimiter is the comma, of .tsv files the tab; where the first line has none, a semicolon or a tab if it has
    one of these. A quoted value may hold delimiters, doubled quotes and line ends, which stay as they are. Rows of
    white space alone are skipped. `on_unreadable` as in `read_rows`, called for rows that are not UTF-8, have a wrong
    quote, or more or fewer values than there are columns.
    """
    table = _Table(path, file)
    for where, row in table.rows():
        if isinstance(row, str):
            on_unreadable(where, row)
        else:
            yield where, row


def table_columns(path: Path, file: Binary) -> list[str]:
    """The names of a table's columns, without those that have none."""
    return [name for name in _Table(path, file).names if name]


def names_shown(names: Iterator[str] | list[str]) -> str:
    """Names of columns as a message shows them, which are a file's text: on one line, not too many or too long."""
    names = list(names)
    shown = [name_shown(name) for name in names[:NAMES_SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else "")


def name_shown(name: str) -> str:
    """A name of a column as a message shows it."""
    return shortened(visible_line(name), LONGEST_NAME)


class _Lines:
    """The lines of a file as text. What is not UTF-8 becomes lone surrogates, and `undecoded` says where it began."""

    def __init__(self, path: Path, file: Binary) -> None:
        self._path, self._file = path, file
        self.number = 0
        self.begin_row()

    def begin_row(self) -> None:
        self.begins = self.number + 1
        self.undecoded: str | None = None
        self._held = 0

    @property
    def where(self) -> str:
        """The place of the row that was begun."""
        return f"{self._path}:{self.begins}"

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(MOST_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self._held += len(line)
        if self.number == 1:
            line = self._begin(line)
        if self._held > MOST_LINE_BYTES:
            raise UserError(
                f"{self.where}: a row longer than {MOST_LINE_BYTES:,} bytes; a quotation mark that never closes makes "
                "one row of all that follows: double it, or quote the whole value"
            )
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.undecoded = f"not UTF-8 (byte {error.start}: {error.reason}; `iconv -f latin1 -t utf-8` converts it)"
            return line.decode(errors="surrogateescape")

    def _begin(self, line: bytes) -> bytes:
        if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            raise UserError(f"{self._path}: UTF-16, not UTF-8; convert it: iconv -f utf-16 -t utf-8")
        if line.startswith(_WORKBOOK):
            raise UserError(f"{self._path}: a zip file or an Excel workbook; save the sheet as CSV with UTF-8")
        return line.removeprefix(BOM_UTF8)


class _Table:
    """A table whose first line has been read. UserError where it does not name the columns."""

    def __init__(self, path: Path, file: Binary) -> None:
        csv.field_size_limit(MOST_LINE_BYTES)  # else 131,072 characters, which a whole paper exceeds
        self._lines = _Lines(path, file)
        first = next((line for line in self._lines if line.strip()), None)
        if first is None:
            raise UserError(f"{path}: the file is empty; the first line of a table names its columns")
        delimiter, stated = _delimiter(path, first)
        begin = [] if stated else [first]
        self._reader = csv.reader(chain(begin, self._lines), delimiter=delimiter, strict=True)
        where = f"{path}:{self._lines.number + stated}"
        try:
            self.names = [name.strip() for name in next(self._reader, [])]
        except csv.Error as error:
            raise UserError(f"{where}: the first line must name the columns ({error})") from None
        if self._lines.undecoded:
            raise UserError(f"{where}: {self._lines.undecoded}")
        named = Counter(name for name in self.names if name)
        if not named:
            raise UserError(f"{where}: the first line must name the columns, and it is empty")
        if len(self.names) > MOST_COLUMNS:
            raise UserError(f"{where}: {len(self.names):,} columns, more than {MOST_COLUMNS:,}; is it a table of text?")
        for name, times in named.items():
            if times > 1:
                raise UserError(f"{where}: two columns are called {name_shown(name)!r}; rename one")

    def rows(self) -> Iterator[tuple[str, dict[str, str] | str]]:
        """(place, row, or why it cannot be read) of each row."""
        lines, width = self._lines, len(self.names)
        while True:
            lines.begin_row()
            try:
                values = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end" in str(error):  # the row may have swallowed any number of others
                    raise UserError(
                        f"{lines.where}: a quotation mark opens in this row and never closes; double it, or quote the "
                        "whole value"
                    ) from None
                yield lines.where, f"not CSV ({error}; a quotation mark within a quoted value is doubled)"
                continue
            if lines.undecoded:
                yield lines.where, lines.undecoded
            elif not any(map(str.strip, values)):
                continue
            elif len(values) != width:
                shown = names_shown(self.names)
                yield (
                    lines.where,
                    f"not as many values as columns ({len(values)} values for the {width} columns {shown}; a value "
                    "with a delimiter in it must be quoted)",
                )
            else:
                yield lines.where, {name: value for name, value in zip(self.names, values, strict=True) if name}


def _delimiter(path: Path, first: str) -> tuple[str, bool]:
    """The delimiter that the first line shows, and whether that line does nothing else (Excel's `sep=;`)."""
    if (said := first.strip().strip('"')).startswith("sep=") and len(said) == 5:
        return said[4], True
    usual = "\t" if ".tsv" in path.suffixes else ","
    bare = _QUOTED.sub("", first)
    return next((one for one in (usual, *DELIMITERS) if one in bare), usual), False
