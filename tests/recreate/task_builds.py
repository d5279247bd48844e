"""Builds of one task in this process, as a worker does them: a test makes many."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.config import RecreateConfig
from sciriff.recreate.pins import write_pins
from sciriff.recreate.task_build import DOCUMENTS, build
from sciriff.recreate.task_request import Settings, TaskRequest, TaskResult


@dataclass
class Built:
    """Rows of a task by split, documents by record, and what was noted of it."""

    rows: dict[str, list[dict[str, Any]]]
    documents: dict[str, list[str]]
    result: TaskResult

    def ids(self, split: str | None = None) -> list[str]:
        chosen = self.rows if split is None else {split: self.rows[split]}
        return [row["_instance_id"] for rows in chosen.values() for row in rows]

    def texts(self) -> dict[str, tuple[str, str]]:
        return {row["_instance_id"]: (row["input"], row["output"]) for rows in self.rows.values() for row in rows}

    def split_of(self) -> dict[str, str]:
        return {row["_instance_id"]: split for split, rows in self.rows.items() for row in rows}

    def bytes(self) -> str:
        """All that must be the same whatever the order of rows."""
        return json.dumps([self.rows, self.documents, self.result.left_out, self.result.rows])


def build_one(
    folder: Path, name: str = "kinds", *, out: Path | None = None, lost: bool = False, **settings: Any
) -> Built:
    """Build `folder/NAME.yaml`, without a window and a cap if none is given."""
    config = RecreateConfig(templates=str(folder), **{"context_window": None, "cap": None, **settings})
    out = out or folder / "built"
    out.mkdir(parents=True, exist_ok=True)
    pins = write_pins(config.pin, {name}, {name}, out / "pins") if config.pin else {}
    request = TaskRequest(
        file=str(folder / f"{name}.yaml"),
        folder=str(out),
        key="key",
        settings=Settings.of(config, None),
        raw=None,
        tokenizer=config.tokenizer,
        pins=str(pins[name]) if name in pins else None,
        text_is_lost=lost,
        started_in=str(folder),
    )
    result = build(request, lambda place: None)
    rows = {
        split: [json.loads(line) for line in (out / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "validation", "test")
    }
    lines = [json.loads(line) for line in (out / DOCUMENTS).read_text().splitlines()]
    return Built(rows, {line["id"]: line["documents"] for line in lines}, result)


def write_splits(folder: Path, name: str, records: dict[str, list[dict[str, Any]]], text: str) -> Path:
    """Write a template file and its records, `NAME/SPLIT.jsonl`; `text` names `data_dir: NAME`. Returns the folder."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        path = folder / name / f"{split}.jsonl"
        path.unlink(missing_ok=True)
        if split in records:
            path.write_text("".join(json.dumps(record) + "\n" for record in records[split]))
    (folder / f"{name}.yaml").write_text(text)
    return folder
