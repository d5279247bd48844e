"""What the general tasks of a run scored, document by document, and their values with intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from sciriff.data.general_rows import AGAIN, GeneralItem, GeneralSettings, GeneralTaskSettings, read_settings
from sciriff.results.scores import ColumnScore, GeneralScores, GeneralTask
from sciriff.results.statistics import LEAST, Array, Stratum, interval, resampled_means
from sciriff.results.thought_counts import thought_counts
from sciriff.run.json_lines import read_json_objects, record
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

LONGEST_NAME, LONGEST_ID = 100, 20
"""Characters of a task's name and digits of an id that a message shows."""


@dataclass(frozen=True)
class GeneralRun:
    """The general tasks of one run."""

    settings: GeneralSettings
    items: dict[str, list[GeneralItem]]
    """Leaf task -> its documents, by `doc_id`. A leaf may belong to several tasks."""


def read_general(run: RunDir, texts: bool = True) -> GeneralRun | None:
    """Read what the general tasks of a run scored; None if it has none. Without `texts`, question, target and answer of
    each item are left empty, which saves memory. UserError names the file that is missing or damaged, and the row."""
    if not run.general_settings.is_file():
        return None
    settings = read_settings(run)
    items: dict[str, list[GeneralItem]] = {}
    for name, task in settings.tasks.items():
        _check_leaves(run, name, task)
        for leaf, about in task.leaves.items():
            if leaf not in items:
                items[leaf] = _read_leaf(run, leaf, texts)
            if len(items[leaf]) != about.items:
                raise UserError(
                    f"{run.general / f'{leaf}.jsonl'} has {len(items[leaf])} documents and settings.json "
                    f"{about.items}; {AGAIN}"
                )
    return GeneralRun(settings, items)


def _check_leaves(run: RunDir, name: str, task: GeneralTaskSettings) -> None:
    """UserError for a task whose value cannot be computed, or whose leaves cannot be files of the folder."""
    task_name = visible_line(name)[:LONGEST_NAME]
    if not task.leaves:
        raise UserError(f"{run.general_settings}: {task_name} has no leaf task; {AGAIN}")
    if not math.isfinite(sum(leaf.weight for leaf in task.leaves.values())):
        raise UserError(f"{run.general_settings}: the weights in {task_name} have no finite sum; {AGAIN}")
    for leaf, about in task.leaves.items():
        shown = visible_line(leaf)[:LONGEST_NAME]
        if not leaf or leaf.startswith(".") or "/" in leaf or "\0" in leaf:
            raise UserError(f"{run.general_settings}: {shown!r} in {task_name} is not the name of a task; {AGAIN}")
        if about.items > about.documents:
            raise UserError(
                f"{run.general_settings}: {shown} has items={about.items} of documents={about.documents}; {AGAIN}"
            )


def _read_leaf(run: RunDir, leaf: str, texts: bool) -> list[GeneralItem]:
    path = run.general / f"{leaf}.jsonl"
    if not path.is_file():
        raise UserError(f"{path} does not exist; {AGAIN}")
    found: dict[int, GeneralItem] = {}
    for place, row in read_json_objects(path):
        item = record(row, GeneralItem, place, AGAIN)
        if item.doc_id in found:
            raise UserError(f"{place}: doc_id={str(item.doc_id)[:LONGEST_ID]} stands here twice; {AGAIN}")
        found[item.doc_id] = item if texts else replace(item, question="", target="", answer="")
    return [found[doc_id] for doc_id in sorted(found)]


def task_value(weights: Mapping[str, float], values: Mapping[str, Sequence[float]]) -> float:
    """Value of a task in [0, 1]: the weighted mean of its leaves' means."""
    whole = math.fsum(weights.values())
    return math.fsum(weight / whole * fmean(values[leaf]) for leaf, weight in weights.items())


def strata_of(weights: Mapping[str, float], values: Mapping[str, Sequence[float]]) -> list[Stratum]:
    """The leaves of a task by name, each with its share in the task's value."""
    whole = math.fsum(weights.values())
    return [Stratum(leaf, weights[leaf] / whole, np.asarray(values[leaf], dtype=float)) for leaf in sorted(weights)]


def has_interval(strata: Sequence[Stratum]) -> bool:
    """Whether every leaf has enough documents to be resampled."""
    return all(len(stratum.values) >= LEAST for stratum in strata)


def score_general(general: GeneralRun, resamples: int) -> GeneralScores:
    """Score the tasks with 95 % intervals, and their mean; without intervals if `resamples` is 0, or where a leaf has a
    single document."""
    scored = {name: score_task(general, name, task, resamples) for name, task in general.settings.tasks.items()}
    tasks = {name: score for name, (score, _) in scored.items()}
    drawn = [resampled for _, resampled in scored.values() if resampled is not None]
    mean: ColumnScore | None = None
    if tasks:
        mean = {"value": fmean(task["value"] for task in tasks.values())}
        if len(drawn) == len(tasks):
            mean["ci95"] = interval(np.mean(drawn, axis=0))
    return {"name": general.settings.name, "tasks": tasks, "mean": mean}


def score_task(
    general: GeneralRun, name: str, task: GeneralTaskSettings, resamples: int
) -> tuple[GeneralTask, Array | None]:
    """Score one task; its resampled values are second, None without an interval. `name` decides the random numbers."""
    score = _without_interval(general, task)
    strata = strata_of(weights_of(task), values_of(general, task))
    if not resamples or not has_interval(strata):
        return score, None
    resampled = resampled_means(strata, resamples, name)
    return {**score, "ci95": interval(resampled)}, resampled


def weights_of(task: GeneralTaskSettings) -> dict[str, float]:
    """Leaf -> its weight."""
    return {name: leaf.weight for name, leaf in task.leaves.items()}


def values_of(general: GeneralRun, task: GeneralTaskSettings) -> dict[str, list[float]]:
    """Leaf -> the values of its documents."""
    return {leaf: [item.value for item in general.items[leaf]] for leaf in task.leaves}


def _without_interval(general: GeneralRun, task: GeneralTaskSettings) -> GeneralTask:
    leaves = task.leaves
    items = [item for leaf in leaves for item in general.items[leaf]]
    score: GeneralTask = {
        "n": len(items),
        "of": sum(leaf.documents for leaf in leaves.values()),
        "metric": task.metric,
        "value": task_value(weights_of(task), values_of(general, task)),
        "shots": max(leaf.shots for leaf in leaves.values()),
        "shortened_prompts": sum(item.truncated > 0 for item in items),
        "skipped_prompts": sum(item.finish == "skipped" for item in items),
        "cut_answers": sum(item.finish == "length" for item in items),
    }
    if thoughts := thought_counts((item.finish, item.thought_tokens, None) for item in items):
        score["thoughts"] = thoughts
    chances = {name: [leaf.chance] for name, leaf in leaves.items() if leaf.chance is not None}
    if len(chances) == len(leaves):
        score["chance"] = task_value(weights_of(task), chances)
    return score
