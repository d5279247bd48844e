"""Write general/ of a run as its stage leaves it, and what the score stage says of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sciriff.data.general_rows import GeneralItem, GeneralLeaf, GeneralSettings, GeneralTaskSettings
from sciriff.results.general_items import read_general, score_general
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

Leaves = Mapping[str, Sequence[float]]
"""Leaf task -> the values of its documents."""


def plain_item(leaf: str, place: int, value: float, **other: Any) -> GeneralItem:
    """A document whose answer says whether it is right."""
    answer = "It is right." if value >= 0.5 else "It is wrong."
    known = {
        "doc_id": place,
        "doc_hash": f"doc {leaf} {place}",
        "target_hash": f"target {leaf} {place}",
        "value": value,
        "finish": "stop",
        "truncated": 0,
        "question": f"What is number {place} of {leaf}?",
        "target": f"Number {place}.",
        "answer": answer,
    }
    return GeneralItem(**(known | other))


def write_general(
    run: RunDir,
    tasks: Mapping[str, Leaves],
    item: Callable[[str, int, float], GeneralItem] = plain_item,
    *,
    chances: Mapping[str, float] | None = None,
    documents: int | None = None,
    resamples: int = 300,
    **settings: Any,
) -> None:
    """Give a run general tasks with these values. Of each leaf the dataset has `documents`, or what was asked."""
    asked = {
        name: GeneralTaskSettings(
            metric="acc" if name in (chances or {}) else "exact_match,flexible-extract",
            leaves={
                leaf: GeneralLeaf(
                    documents or len(values), len(values), len(values), "1.0", 5, (chances or {}).get(name)
                )
                for leaf, values in leaves.items()
            },
        )
        for name, leaves in tasks.items()
    }
    about = {"name": "quick", "lm_eval": "0.4.13", "chat": "tulu", "turns": True, "seed": 1234} | settings
    run.general.mkdir(exist_ok=True)
    run.general_settings.write_text(json.dumps(asdict(GeneralSettings(**about, tasks=asked))))
    for leaf, values in ((leaf, values) for leaves in tasks.values() for leaf, values in leaves.items()):
        write_jsonl(run.general / f"{leaf}.jsonl", [asdict(item(leaf, n, value)) for n, value in enumerate(values)])
    general = read_general(run)
    assert general is not None
    scores = json.loads(run.scores.read_text())
    run.scores.write_text(json.dumps(scores | {"general": score_general(general, resamples)}))
