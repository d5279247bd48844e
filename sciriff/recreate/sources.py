"""Where the data of SciRIFF's 54 tasks comes from: how it loads today, its licence, and what cannot be made again."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

Loads = Literal["hub", "branch", "files", "registration"]
"""`hub`: data files of a hub repository. `branch`: only the parquet files that the hub made of it, by revision.
`files`: raw files alone, the hub has a script, which nothing here runs. `registration`: raw files behind an account."""

Lost = Literal["membership", "ids", "order", "text"]
"""What the authors' program drew without a seed: `membership`, which rows were sampled or how splits were cut; `ids`,
the order of the source; `order`, that of lists inside a row; `text`, parts of a prompt or answer."""

PARQUET_BRANCH = "refs/convert/parquet"
"""Revision under which the hub keeps its own parquet copy of a data set."""


@dataclass(frozen=True)
class TaskSource:
    """Source of one task."""

    task: str
    source: str
    """Hub id, `id:subset`, or folder, as a template file names it."""
    loads: Loads
    licence: str
    raw: str
    """Address of the raw files, with the files below it where these are a few of many."""
    lost: tuple[Lost, ...]

    @property
    def revision(self) -> str | None:
        """Revision to load from the hub, None for the newest or where the hub has no data files."""
        return PARQUET_BRANCH if self.loads == "branch" else None


@cache
def sources() -> dict[str, TaskSource]:
    """All tasks by name, in alphabetical order."""
    with Path(__file__).with_name("sources.tsv").open(newline="", encoding="utf-8") as file:
        return {
            row["task"]: msgspec.convert(
                row | {"lost": row["lost"].split() if row["lost"] != "none" else []}, TaskSource
            )
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        }


def task_source(name: str) -> TaskSource | None:
    """Return the source of a task of SciRIFF, None for another task."""
    return sources().get(name)


def raw_address(source: str, subset: str | None = None) -> str | None:
    """Return where the raw files of a data set are, None if no task of SciRIFF comes from it."""
    keys = (f"{source}:{subset}", source)
    return next((entry.raw for key in keys for entry in sources().values() if entry.source == key), None)
