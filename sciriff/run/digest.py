"""Digests (SHA-256, hexadecimal) of files and values, which show whether a stage's inputs have changed."""

import hashlib
import json
from pathlib import Path
from typing import Any


def file_digest(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_digest(value: Any) -> str:
    """Digest of a JSON value; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def stat_digest(*places: Path) -> str:
    """Digest of files and of all files below folders by name, size and time, without reading any."""
    files = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*")))]
    return value_digest([[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in files if p.is_file()])


def tree_digest(path: Path) -> str:
    """Digest of a file, or of all files below a folder with their relative names. Hidden files do not count."""
    if path.is_file():
        return file_digest(path)
    files = sorted(
        p for p in path.rglob("*") if p.is_file() and not any(x.startswith(".") for x in p.relative_to(path).parts)
    )
    return value_digest([[p.relative_to(path).as_posix(), file_digest(p)] for p in files])
