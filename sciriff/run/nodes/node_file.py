"""A file with messages of one node to the others: lines of JSON that it alone writes."""

import json
from pathlib import Path
from typing import Any


class NodeFile:
    """Lines of JSON, written in place and opened for each read: so NFS shows the newest (close-to-open consistency)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, **line: Any) -> None:
        """Make this the only line."""
        self.path.write_text(json.dumps(line) + "\n", encoding="utf-8")

    def add(self, **line: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Return the complete lines; none if there is no such file yet."""
        try:
            lines = [json.loads(line) for line in self.path.read_bytes().split(b"\n")[:-1]]
        except (OSError, ValueError):
            return []
        return lines if all(isinstance(line, dict) for line in lines) else []
