"""Corpus: the files that a data set comes in, below the folder of raw data, and how its records are read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.run.user_error import UserError

Record = dict[str, Any]
"""Fields of one record, as the source or a formatter names them. Keys that begin with an underscore are ours: `_id`,
unique in its split, else the row's number; `_documents`, which documents it is made of (`pmid:8528200`), so that a
split can keep these together."""


@dataclass(frozen=True)
class Corpus:
    """One form in which a data set is published."""

    files: Mapping[str, tuple[str, ...]]
    """Source split -> paths or globs below the folder of raw data; each must match something."""
    read: Callable[[str, list[Path]], Iterable[Record]]
    """(source split, its files sorted by path) -> its records, in an order that depends on nothing else."""
    incomplete: str | None = None
    """What these files lack of the data set, for the card."""

    def found(self, raw: Path) -> dict[str, list[Path]] | None:
        """Return the files of each split, or None where some are not below `raw`."""
        splits = {}
        for split, patterns in self.files.items():
            matches = [sorted(path for path in raw.glob(pattern) if path.is_file()) for pattern in patterns]
            if not all(matches):
                return None
            splits[split] = sorted({path for paths in matches for path in paths})
        return splits


def only_file(files: list[Path]) -> Path:
    """Return the one file of a list; UserError names the first two where there are more."""
    if len(files) > 1:
        raise UserError(f"{files[0]} and {files[1]}: both have the name that is looked for; keep one of them")
    return files[0]
