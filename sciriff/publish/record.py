"""published.json: what stands on the hub after a push. Light, so that the driver can read it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from sciriff.run.typed_json import read_json
from sciriff.run.whole_file import write_whole


class Pushed(TypedDict):
    """What stands in a repository after a push."""

    what: str
    repo: str
    kind: str
    revision: str
    private: bool
    commit: str
    url: str
    files: dict[str, int]
    """Name -> bytes."""


class _Record(TypedDict):
    pushed: list[Pushed]


def read_published(path: Path) -> list[Pushed]:
    """Read the record. UserError names the file that is missing or broken."""
    return read_json(path, _Record, "a record of what was pushed", "run the publish stage again")["pushed"]


def write_published(path: Path, pushed: Sequence[Pushed]) -> None:
    """Write the record atomically."""
    write_whole(path, json.dumps({"pushed": list(pushed)}, indent=2) + "\n")
