"""What a tracker shows as tables: the scores of each task with all their details, and some answers to look at."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sciriff.data.records import Prediction
from sciriff.run.json_lines import read_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT

ANSWERS = 5
"""Of each task."""
LONGEST = 4000
"""Characters of a text that are shown; the report has it whole."""


@dataclass(frozen=True)
class TrackedTable:
    """A table under its name at the tracker."""

    name: str
    columns: list[str]
    rows: list[list[str]]


def tracked_tables(run: RunDir) -> Iterator[TrackedTable]:
    """The tables of a run that are there. UserError names a file that is broken."""
    for path in sorted(run.tables.glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file, delimiter="\t")
        # the summary has two rows of headings, which together name a column
        if path.stem == "summary":
            metrics, *rows = rows
            head = [" ".join(filter(None, pair)) for pair in zip(head, metrics, strict=True)]
        yield TrackedTable(f"tables/{path.stem}", head, rows)
    answers = [
        [row.task, row.instance_id, *map(shown, (row.prompt, row.prediction, row.reference)), row.finish_reason or ""]
        for task in HELD_OUT
        for row in _first(run.predictions / f"{task.name}.jsonl")
    ]
    if answers:
        columns = ["task", "instance", "prompt", "prediction", "reference", "finish_reason"]
        yield TrackedTable("predictions", columns, answers)


def _first(path: Path) -> Iterator[Prediction]:
    """Of different instances: the first sample of each, where there are several."""
    rows = read_jsonl(path, Prediction) if path.is_file() else ()
    yield from islice((row for row in rows if row.key[1] == 1), ANSWERS)


def shown(text: str) -> str:
    """A model's text as a tracker can take it: no half characters, not too long."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} [{len(text) - LONGEST:,} more characters]"
