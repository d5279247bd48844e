"""Keep finished answers on disk, so that a killed stage goes on from where it was and ends in the same bytes.

While the stage runs, rows are appended to predictions/<task>.jsonl as they come. settings.json beside them says what
they depend on; rows made under other settings are thrown away. In the end every file is rewritten once, in the order of
the instances.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sciriff.records import Prediction, dumps, to_json, write_jsonl
from sciriff.run_dir import RunDir
from sciriff.tasks import HELD_OUT


def begin(run: RunDir, expected: dict[str, list[str]], settings: dict[str, Any]) -> dict[str, Prediction]:
    """Instance id -> finished row of an earlier, interrupted start under the same settings; empty at a first start.

    Writes expected.json (task -> instance ids in order). ValueError where rows lie in the folder that this stage did
    not write.
    """
    run.predictions.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps(settings))
    before = _read_settings(run.answered_with)
    files = [path for task in HELD_OUT if (path := _file(run, task.name)).exists()]
    if before != settings:
        if before is None and files:
            raise ValueError(
                f"{files[0]} was not written by this stage, which would overwrite it: move it away, or score it "
                f"in a run of its own with predictions={run.predictions}"
            )
        if before is not None:
            changed = sorted(key for key in {**before, **settings} if before.get(key) != settings.get(key))
            print(
                f"the answers in {run.predictions} were made with another {' and '.join(changed)}: starting afresh",
                flush=True,
            )
        for path in files:
            path.unlink()
        _write_json(run.answered_with, settings)
    _write_json(run.expected, expected)
    rows: dict[str, Prediction] = {}
    for task, instance_ids in expected.items():
        rows.update(_read(_file(run, task), task, set(instance_ids)))
    return rows


def keep_only(run: RunDir, expected: dict[str, list[str]], rows: dict[str, Prediction]) -> None:
    """Rewrite the files so that they hold these rows and nothing else, in the order of `expected`."""
    for task, instance_ids in expected.items():
        kept = [rows[instance_id] for instance_id in instance_ids if instance_id in rows]
        if kept:
            write_jsonl(_file(run, task), kept)
        else:
            _file(run, task).unlink(missing_ok=True)


def append(run: RunDir, rows: Iterable[Prediction]) -> None:
    """Add finished rows to their tasks' files, and return when they are on the disk."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        lines.setdefault(row.task, []).append(to_json(row) + "\n")
    for task, added in lines.items():
        with _file(run, task).open("a", encoding="utf-8", newline="\n") as file:
            file.writelines(added)
            file.flush()
            os.fsync(file.fileno())


def _file(run: RunDir, task: str) -> Path:
    return run.predictions / f"{task}.jsonl"


def _read(path: Path, task: str, instance_ids: set[str]) -> dict[str, Prediction]:
    """The whole rows of a file that may end in half a line or hold a torn block; what cannot be read is made again."""
    rows: dict[str, Prediction] = {}
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
        try:
            row = Prediction(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if row.task == task and row.instance_id in instance_ids:
            rows[row.instance_id] = row
    return rows


def _read_settings(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    settings = json.loads(path.read_bytes())
    assert isinstance(settings, dict), f"{path} is written whole or not at all"
    return settings


def _write_json(path: Path, value: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(dumps(value) + "\n", encoding="utf-8")
    partial.replace(path)
