"""A run with general tasks, as the score stage leaves it, whose documents have texts."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import general_runs
from general_runs import Values

from sciriff.data.general_rows import GeneralItem
from sciriff.results.general_items import read_general, score_general
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir


def plain_item(leaf: str, place: int, value: float, **other: Any) -> GeneralItem:
    """A document whose answer says whether it is right."""
    known = {
        "finish": "stop",
        "question": f"What is number {place} of {leaf}?",
        "target": f"Number {place}.",
        "answer": "It is right." if value >= 0.5 else "It is wrong.",
    }
    return GeneralItem(**general_runs.item(place, value, leaf, **(known | other)))


def write_general(
    run: RunDir,
    tasks: Mapping[str, Values],
    item: Callable[[str, int, float], GeneralItem] = plain_item,
    *,
    chances: Mapping[str, float] | None = None,
    documents: int | None = None,
    resamples: int = 300,
    **settings: Any,
) -> None:
    """Give a run general tasks with these values. Of each leaf the dataset has `documents`, or what was asked."""
    chances = chances or {}
    leaves = {
        leaf: {"documents": documents or len(values), "chance": chances.get(name)}
        for name, of_leaves in tasks.items()
        for leaf, values in of_leaves.items()
    }
    metrics = {name: "acc" if name in chances else "exact_match,flexible-extract" for name in tasks}
    general_runs.write_general(run, tasks, leaves=leaves, metrics=metrics, **settings)
    for leaf, values in ((leaf, values) for of_leaves in tasks.values() for leaf, values in of_leaves.items()):
        write_jsonl(run.general / f"{leaf}.jsonl", [asdict(item(leaf, n, value)) for n, value in enumerate(values)])
    general = read_general(run)
    assert general is not None
    scores = json.loads(run.scores.read_text())
    run.scores.write_text(json.dumps(scores | {"general": score_general(general, resamples)}))
