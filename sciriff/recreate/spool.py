"""Rows of one task on the disk, found again by id, so that a corpus of any size needs little memory."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sciriff.run.json_lines import dumps


@dataclass(slots=True)
class Spooled:
    """Where one row stands, and what is needed to choose among rows."""

    instance: str
    base: str
    """The id without a template."""
    source: str
    """Source split."""
    template: int
    tokens: tuple[int, int] | None
    """Tokens of input and output."""
    start: int = 0
    length: int = 0


class Spool:
    """A file that rows are appended to and read from at random."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("w+b")
        self._end = self._flushed = 0

    def add(self, row: Spooled, content: dict[str, Any]) -> None:
        """Write the content of a row and note where it stands."""
        data = dumps(content).encode()
        self._file.write(data)
        row.start, row.length = self._end, len(data)
        self._end += len(data)

    def text(self, row: Spooled) -> str:
        """Read the JSON of a row."""
        if row.start + row.length > self._flushed:
            self._file.flush()
            self._flushed = self._end
        return os.pread(self._file.fileno(), row.length, row.start).decode()

    def content(self, row: Spooled) -> dict[str, Any]:
        """Read a row."""
        found: dict[str, Any] = json.loads(self.text(row))
        return found

    def close(self) -> None:
        self._file.close()


def by_id(rows: Iterable[Spooled]) -> list[Spooled]:
    """Sort rows by their ids as text, as the published files are."""
    return sorted(rows, key=lambda row: row.instance)
