"""general/ folders written by hand: what the documents of each leaf task scored."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

Values = Mapping[str, Sequence[float]]
"""Leaf task -> value of each document."""


def item(doc_id: int, value: float, leaf: str = "leaf", **others: Any) -> dict[str, Any]:
    """A row of general/LEAF.jsonl."""
    return {
        "doc_id": doc_id,
        "doc_hash": f"{leaf} {doc_id}",
        "target_hash": f"target of {leaf} {doc_id}",
        "value": value,
        "finish": "scored",
        "truncated": 0,
        "question": f"Question {doc_id} of {leaf}?",
        "target": "A",
        "answer": "A" if value == 1 else "B",
        **others,
    }


def write_general(
    folder: Path | RunDir,
    tasks: Mapping[str, Values | Sequence[float]],
    *,
    leaves: Mapping[str, Mapping[str, Any]] = {},
    metrics: Mapping[str, str] = {},
    **settings: Any,
) -> RunDir:
    """Write settings.json and the rows of a run: task -> values of its leaves, or of itself where it is one.

    `leaves` changes what settings.json says of a leaf, `metrics` the metric of a task, `settings` the rest.
    """
    run = folder if isinstance(folder, RunDir) else RunDir(folder)
    run.general.mkdir(parents=True, exist_ok=True)
    described = {}
    for task, values in tasks.items():
        of_leaves = values if isinstance(values, Mapping) else {task: values}
        for leaf, scored in of_leaves.items():
            write_jsonl(run.general / f"{leaf}.jsonl", [item(n, value, leaf) for n, value in enumerate(scored)])
        about = {
            leaf: {
                "documents": len(scored),
                "items": len(scored),
                "weight": float(len(scored)),
                "version": "1.0",
                "shots": 5,
                "chance": None,
                **leaves.get(leaf, {}),
            }
            for leaf, scored in of_leaves.items()
        }
        described[task] = {"metric": metrics.get(task, "acc"), "leaves": about}
    known = {"name": "quick", "lm_eval": "0.4.13", "chat": "tulu", "turns": True, "seed": 1234, "tasks": described}
    run.general_settings.write_text(json.dumps({**known, **settings}))
    return run
