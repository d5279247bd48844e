"""The answers that lie in a run's own folder, which may come from a stranger: nothing outside of it is read."""

import os
from collections.abc import Iterator
from pathlib import Path

from sciriff.data.saved_answers import SavedAnswer, our_answer
from sciriff.results.finished_runs import read_config
from sciriff.run.json_lines import read_json_objects
from sciriff.run.run_dir import RunDir


def has_own_answers(run: RunDir) -> bool:
    """Whether the scores are of answers in the run's folder, not of those that `predictions` names elsewhere."""
    named = read_config(run.config).get("predictions") if run.config.is_file() else None
    return named is None or os.path.abspath(str(named)) == os.path.abspath(run.predictions)  # noqa: PTH100 - no disk


def answers_file(run: RunDir, task: str) -> Path | None:
    """The file of a task's answers; None where the folder has none, or a link that leads out of it."""
    path = run.predictions / f"{task}.jsonl"
    return path if path.is_file() and lies_in(run.root, path) else None


def lies_in(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder, wherever links lead."""
    return path.resolve().is_relative_to(folder.resolve())


def run_answers(path: Path, task: str) -> Iterator[SavedAnswer]:
    """Yield the answers of a file as they stand there, one in memory at a time. UserError names file and line of a
    broken one."""
    for place, row in read_json_objects(path):
        yield our_answer(row, task, place)
