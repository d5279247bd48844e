"""Write the scores of one or several models as tables in the layout of the original code, tab-separated."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from sciriff.results.scores import Scores, Summary, columns_and_statistics
from sciriff.run.number_format import count_of, points
from sciriff.run.whole_file import write_whole
from sciriff.tasks import COLUMNS, HELD_OUT

MISSING = "NA"
"""A column without a value: what pandas and R read as missing."""


def write_tables(folder: Path, models: Sequence[Scores]) -> None:
    """summary.tsv (x100) with its two rows of headings and a row for each model, and one <task>.tsv of all scores
    (0-1) for each task that a model has."""
    for task in HELD_OUT:
        details = {m["model"]: m["tasks"][task.name]["details"] for m in models if task.name in m["tasks"]}
        if details:
            names = list(dict.fromkeys(name for values in details.values() for name in values))
            rows = [[model, *(_cell(values.get(name)) for name in names)] for model, values in details.items()]
            write_tsv(folder / f"{task.name}.tsv", [["model", *names], *rows])
        else:
            (folder / f"{task.name}.tsv").unlink(missing_ok=True)
    covers = _coverage([model["summary"] for model in models])
    write_tsv(
        folder / "summary.tsv",
        [
            ["task", *(task.short_name for task in HELD_OUT for _ in task.headline), "mean", "median"],
            ["metric", *(name for task in HELD_OUT for name in task.headline), covers, covers],
            *(_summary_row(model) for model in models),
        ],
    )


def _summary_row(scores: Scores) -> list[str]:
    known = columns_and_statistics(scores["summary"])
    values = [known[name]["value"] if name in known else None for name in (*COLUMNS, "mean", "median")]
    return [scores["model"], *(MISSING if value is None else points(value) for value in values)]


def _cell(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _coverage(summaries: Sequence[Summary]) -> str:
    """What stands under `mean`, where the original code has an empty cell: `of 9 of 11`, or `of 7 to 11 of 11` where
    models differ; nothing where no column is missing."""
    counts = {len(summary["columns"]) for summary in summaries}
    if counts == {len(COLUMNS)}:
        return ""
    return f"of {count_of(counts, len(COLUMNS))}"


def write_tsv(path: Path, rows: list[list[str]]) -> None:
    """Write a table whose columns are parted by tabs."""
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    write_whole(path, text.getvalue())
