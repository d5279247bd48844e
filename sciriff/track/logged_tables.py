"""Tables for a tracker: the run's score tables and a few predictions per task."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sciriff.config.own_tasks import NAME
from sciriff.data.records import Prediction
from sciriff.data.saved_answers import read_expected
from sciriff.run.json_lines import read_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks import NAMES

PREDICTIONS = 5
"""Predictions shown per task."""
LONGEST = 4000
"""Characters shown of a text; the report has all of it."""


@dataclass(frozen=True)
class TrackedTable:
    """A table and its name at the tracker."""

    name: str
    columns: list[str]
    rows: list[list[str]]

    def as_tsv(self) -> str:
        """The table as text; white space within a cell becomes one space."""
        lines = ["\t".join(" ".join(cell.split()) for cell in row) for row in (self.columns, *self.rows)]
        return "\n".join(lines) + "\n"


def tracked_tables(run: RunDir) -> Iterator[TrackedTable]:
    """The tables that the run has so far. UserError names a malformed file."""
    for path in sorted(run.tables.glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file, delimiter="\t")
        # the summary has two header rows, which together name a column
        if path.stem == "summary":
            metrics, *rows = rows
            head = [" ".join(filter(None, pair)) for pair in zip(head, metrics, strict=True)]
        yield TrackedTable(f"tables/{path.stem}", head, rows)
    predictions = [
        [row.task, row.instance_id, *map(_shown, (row.prompt, row.prediction, row.reference)), row.finish_reason or ""]
        for task in dict.fromkeys([*NAMES, *filter(NAME.fullmatch, read_expected(run.expected)[0])])
        for row in _first_predictions(run.predictions / f"{task}.jsonl")
    ]
    if predictions:
        columns = ["task", "instance", "prompt", "prediction", "reference", "finish_reason"]
        yield TrackedTable("predictions", columns, predictions)


def _first_predictions(path: Path) -> Iterator[Prediction]:
    """The first sample of the first PREDICTIONS instances."""
    rows = read_jsonl(path, Prediction) if path.is_file() else ()
    yield from islice((row for row in rows if row.key[1] == 1), PREDICTIONS)


def _shown(text: str) -> str:
    """Shorten a model's text to LONGEST characters and replace lone surrogates, which trackers refuse."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} [{len(text) - LONGEST:,} more characters]"
