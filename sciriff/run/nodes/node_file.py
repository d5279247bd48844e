"""A file through which one node tells the others something: lines of JSON that it alone writes."""

import json
from pathlib import Path
from typing import Any


class NodeFile:
    """Lines of JSON. They are written in place and not by renaming, and the file is opened for each read: so NFS shows
    their newest content on every node (close-to-open consistency)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, **line: Any) -> None:
        """Make this the only line."""
        self._write("w", line)

    def add(self, **line: Any) -> None:
        """Add a line."""
        self._write("a", line)

    def _write(self, mode: str, line: dict[str, Any]) -> None:
        with self.path.open(mode, encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Its whole lines; none where there is no such file yet."""
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
            found = [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return []
        return found if all(isinstance(line, dict) for line in found) else []
