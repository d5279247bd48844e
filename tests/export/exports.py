"""Export in a test, and invented answers to what was exported."""

import json
from pathlib import Path
from typing import Any

from sciriff.config import SAMPLE
from sciriff.data.records import Prediction
from sciriff.export.__main__ import main
from sciriff.run.json_lines import read_json_objects, write_jsonl
from sciriff.tasks import HELD_OUT

VALIDATION = SAMPLE / "sciriff" / "validation.jsonl"
COLUMNS = [column for task in HELD_OUT for column in task.columns if column not in task.judged_columns]


def export(monkeypatch: Any, *arguments: object) -> int:
    """Run the command in this process and return its status."""
    monkeypatch.setattr("sys.argv", ["sciriff export", *map(str, arguments)])
    return main()


def answers() -> dict[str, str]:
    """Instance -> an answer that is right, another instance's, cut off, or no answer, in turn."""
    rows = [row for _, row in read_json_objects(VALIDATION)]
    made = {}
    for place, (row, other) in enumerate(zip(rows, [*rows[1:], rows[0]], strict=True)):
        right = row["output"]
        kinds = (right, other["output"], f"{right[: len(right) // 2]}\n\n", "", f"The answer is\n\n{right}</s>", "[]")
        made[row["_instance_id"]] = kinds[place % len(kinds)]
    return made


def write_predictions(folder: Path) -> None:
    """`answers` as rows of the predict stage."""
    by_task: dict[str, list[Prediction]] = {}
    made = answers()
    for _, row in read_json_objects(VALIDATION):
        task = row["_instance_id"].partition(":")[0]
        saved = Prediction(task, row["_instance_id"], row["input"], made[row["_instance_id"]], row["output"])
        by_task.setdefault(task, []).append(saved)
    for task, rows in by_task.items():
        write_jsonl(folder / f"{task}.jsonl", rows)


def values(scores: Path) -> dict[str, float]:
    """Column -> value in a scores.json, of those that need no judge."""
    columns = json.loads(scores.read_text())["summary"]["columns"]
    return {name: column["value"] for name, column in columns.items() if name in COLUMNS}
