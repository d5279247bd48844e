"""Write the scores of one or several models as tables in the layout of the original code, tab-separated."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from sciriff.results.scores import Scores, columns_and_statistics, held_out_of
from sciriff.run.number_format import count_of, points
from sciriff.run.visible import visible_line
from sciriff.run.whole_file import write_whole
from sciriff.tasks.own import columns_of

MISSING = "NA"
"""Cell of a missing value, which pandas and R read as such."""
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What a formula may begin with, wide characters of East Asian keyboards among them."""
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?%?", re.ASCII)


def write_tables(folder: Path, models: Sequence[Scores]) -> None:
    """Write summary.tsv (x100), with two rows of headings, and <task>.tsv (0-1) of each task; a row per model."""
    tasks = held_out_of(*models)
    columns = columns_of(tasks)
    for task in tasks:
        details = {m["model"]: m["tasks"][task.name]["details"] for m in models if task.name in m["tasks"]}
        if details:
            names = list(dict.fromkeys(name for values in details.values() for name in values))
            rows = [[model, *(_cell(values.get(name, MISSING)) for name in names)] for model, values in details.items()]
            write_tsv(folder / f"{task.name}.tsv", [["model", *names], *rows])
        else:
            (folder / f"{task.name}.tsv").unlink(missing_ok=True)
    counts = [len(model["summary"]["columns"]) for model in models]
    # under `mean`, where the original code has an empty cell
    covers = "" if min(counts) == len(columns) else f"of {count_of(counts, len(columns))}"
    write_tsv(
        folder / "summary.tsv",
        [
            ["task", *(task.short_name for task in tasks for _ in task.headline), "mean", "median"],
            ["metric", *(name for task in tasks for name in task.headline), covers, covers],
            *(_summary_row(model, columns) for model in models),
        ],
    )


def _summary_row(scores: Scores, columns: Sequence[str]) -> list[str]:
    known = columns_and_statistics(scores["summary"])
    names = (*columns, "mean", "median")
    return [scores["model"], *(points(known[name]["value"]) if name in known else MISSING for name in names)]


def _cell(value: float | str) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def write_tsv(path: Path, rows: list[list[str]]) -> None:
    """Write a tab-separated table, whose cells are `for_spreadsheets`."""
    text = io.StringIO()
    lines = [[for_spreadsheets(cell) for cell in row] for row in rows]
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(lines)
    write_whole(path, text.getvalue())


def for_spreadsheets(cell: str) -> str:
    """The cell on one line, with an apostrophe before what a spreadsheet would take for a formula; it shows none, and
    numbers need none. https://owasp.org/www-community/attacks/CSV_Injection"""
    shown = visible_line(cell)
    return f"'{shown}" if shown.startswith(FORMULA) and not NUMBER.fullmatch(shown) else shown
