"""Read new lines of a JSON-lines file that another process is writing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.run.json_lines import json_object


@dataclass
class Tail:
    """Complete lines of a growing JSON-lines file; one truncated by a resumed training is read again from its start."""

    path: Path
    _offset: int = 0
    _number: int = 0
    _last: bytes = b""

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line number from 1, object) of each new line. A line without its newline is left for the next call."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            # Compare the last line read: the file can be truncated and grow past its old length between two calls.
            file.seek(self._offset - len(self._last))
            if file.read(len(self._last)) != self._last:
                self._offset, self._number, self._last = 0, 0, b""
                file.seek(0)
            while (line := file.readline()).endswith(b"\n"):
                self._offset, self._number, self._last = self._offset + len(line), self._number + 1, line
                yield self._number, json_object(line, self.path, self._number)
