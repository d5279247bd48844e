"""scores.json: what the score stage writes of a run, and what everybody else reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from sciriff.config.own_tasks import check_own_tasks
from sciriff.run.number_format import count_of
from sciriff.run.typed_json import parsed_json, read_json
from sciriff.run.whole_file import write_whole
from sciriff.tasks import COLUMNS
from sciriff.tasks.own import held_out
from sciriff.tasks.task import Task

SELECTED = "selected on these prompts"
"""What a score says that is no estimate for other prompts, since the model was chosen for it."""
NOTES = "; "
"""Stands between the sentences of a note; none has it in itself."""


class ColumnScore(TypedDict):
    """A column of the summary, or the mean of several, in [0, 1]; standard deviation over each prompt's samples."""

    value: float
    ci95: NotRequired[tuple[float, float]]
    ci95_note: NotRequired[str]
    """Why the interval is rough or may be too narrow: sentences joined by NOTES."""
    sd_over_samples: NotRequired[float]
    selected: NotRequired[str]
    """SELECTED, where the model was chosen for its scores on some of the instances that are scored here."""


class Summary(TypedDict):
    """Columns with a value, their mean and median (None without any), and the names of the missing columns."""

    columns: dict[str, ColumnScore]
    mean: float | None
    median: float | None
    missing: list[str]
    mean_sd_over_samples: NotRequired[float]
    mean_ci95: NotRequired[tuple[float, float]]


class JudgeReport(TypedDict):
    """What a judge did to the answers of a task; missing answers are rated 1 without a call."""

    judge: str
    judged: int
    unreadable: int
    missing_answers: int
    not_judged: int
    """Answers that lack their rating."""


class FilterChoice(TypedDict):
    """Which of lm-eval's filters the answers are of, where its files have those of several."""

    taken: str
    others: list[str]


class ThoughtCounts(TypedDict):
    """Thoughts before the answers to a task."""

    answers: int
    """Answers with a thought, unfinished ones among them."""
    unfinished: int
    """Thoughts that ran into their limit, so that no answer came."""
    mean_tokens: NotRequired[float]
    """Tokens of a thought, over those whose tokens are known."""


class TaskScores(TypedDict):
    """One task with `n` instances. Counts cover all answers to them, values are means over samples."""

    n: int
    missing: int
    """Expected answers without a prediction."""
    benchmark: int | None
    """Instances in SciRIFF's validation split, for predictions without an expected.json."""
    readable: float
    unreadable: dict[str, int]
    end_differs: int
    """Answers that the reference's stripping changes otherwise than ours."""
    truncated_prompts: int
    truncated_tokens: int
    skipped_prompts: int
    cut_answers: int
    thoughts: NotRequired[ThoughtCounts]
    """Present for a model that thinks before it answers."""
    selected_on: NotRequired[int]
    """Instances among the `n` by whose scores the model was chosen; not there without any."""
    rated: int
    headline: dict[str, float]
    details: dict[str, int | float]
    """Keys are the reference's flat names."""
    answers: NotRequired[int]
    """Number of answers, if each instance has several samples."""
    sd_over_samples: NotRequired[dict[str, float | None]]
    judge: NotRequired[JudgeReport]
    filter: NotRequired[FilterChoice]
    documents: NotRequired[int]
    """Documents that the instances are about, if its intervals are made of documents and not of instances."""


class TaskDifferences(TypedDict):
    """What the other rules of scoring change in one task."""

    answers: int
    """Answers that count otherwise."""
    judged: int
    """Rated ones among them; a judge would have been shown another text."""
    details: dict[str, int | float]
    """Values under the other rules, where they differ."""


class OtherParity(TypedDict):
    """What the same answers score under the other value of `eval.parity`; `columns` are those that differ."""

    parity: str
    columns: dict[str, float]
    mean: float | None
    median: float | None
    tasks: dict[str, TaskDifferences]


class GeneralTask(TypedDict):
    """A general task or group of lm-eval, `n` of `of` documents; value in [0, 1]. No part of the summary."""

    n: int
    of: int
    metric: str
    """`METRIC` or `METRIC,FILTER`."""
    value: float
    ci95: NotRequired[tuple[float, float]]
    shots: int
    chance: NotRequired[float]
    """Expected value of guessing, for multiple choice."""
    shortened_prompts: int
    """Prompts that lost examples, so that they fit the model."""
    skipped_prompts: int
    """Prompts that do not fit even without examples; they count as wrong."""
    cut_answers: int
    thoughts: NotRequired[ThoughtCounts]


class GeneralScores(TypedDict):
    """What the general tasks scored, in their order, and their mean; None without any task."""

    name: str
    """Name of the protocol (`general.name`)."""
    tasks: dict[str, GeneralTask]
    mean: ColumnScore | None


class Scores(TypedDict):
    """The whole file."""

    model: str
    parity: str
    samples: NotRequired[int]
    """Answers to each prompt, if more than one."""
    tasks: dict[str, TaskScores]
    summary: Summary
    other_parity: NotRequired[OtherParity]
    """Missing in files of earlier versions."""
    general: NotRequired[GeneralScores]
    own_tasks: NotRequired[dict[str, str]]
    """Tasks of one's own, whose columns follow the nine's, and the metric of each; not there without any."""


class _SummaryAlone(TypedDict):
    summary: Summary


class _GeneralAlone(TypedDict):
    general: NotRequired[GeneralScores]


WHAT, FIX = "the scores of a run", "run the score stage again"


def read_scores(path: Path) -> Scores:
    """Read the scores of a run. UserError names the file that is missing or broken."""
    scores = read_json(path, Scores, WHAT, FIX)
    check_own_tasks(f"{path}: own_tasks", scores.get("own_tasks", {}))
    return scores


def held_out_of(*several: Scores) -> tuple[Task, ...]:
    """The held-out tasks that some runs were scored for: the nine, and then one's own of any of them."""
    return held_out({name: metric for scores in several for name, metric in scores.get("own_tasks", {}).items()})


def read_summary(path: Path) -> Summary:
    """Read the summary alone; other versions may have written the rest."""
    return parsed_summary(path.read_bytes(), path)


def parsed_summary(data: bytes, path: Path) -> Summary:
    """Parse the bytes of scores.json as `read_summary` does."""
    return parsed_json(data, _SummaryAlone, path, WHAT, FIX)["summary"]


def read_general_scores(path: Path) -> GeneralScores | None:
    """Read what the general tasks scored alone; None without any."""
    return parsed_general_scores(path.read_bytes(), path)


def parsed_general_scores(data: bytes, path: Path) -> GeneralScores | None:
    """Parse the bytes of scores.json as `read_general_scores` does."""
    return parsed_json(data, _GeneralAlone, path, WHAT, FIX).get("general")


def write_scores(path: Path, scores: Scores) -> None:
    """Write scores.json atomically."""
    write_whole(path, json.dumps(scores, indent=2, allow_nan=False) + "\n")


def columns_and_statistics(summary: Summary) -> dict[str, ColumnScore]:
    """Column, `mean` or `median` -> score, of those that have one."""
    scores = dict(summary["columns"])
    if summary["mean"] is not None:
        scores["mean"] = {"value": summary["mean"]}
        if "mean_ci95" in summary:
            scores["mean"]["ci95"] = summary["mean_ci95"]
        if "mean_sd_over_samples" in summary:
            scores["mean"]["sd_over_samples"] = summary["mean_sd_over_samples"]
    if summary["median"] is not None:
        scores["median"] = {"value": summary["median"]}
    if any("selected" in column for column in summary["columns"].values()):
        for name in scores.keys() & {"mean", "median"}:
            scores[name]["selected"] = SELECTED
    return scores


def general_and_mean(general: GeneralScores | None) -> dict[str, ColumnScore]:
    """General task or `mean` -> score; empty without any."""
    scores: dict[str, ColumnScore] = {}
    for name, task in general["tasks"].items() if general else ():
        scores[name] = {"value": task["value"]}
        if "ci95" in task:
            scores[name]["ci95"] = task["ci95"]
    if general and general["mean"] is not None:
        scores["mean"] = general["mean"]
    return scores


def other_values(scores: Scores) -> list[tuple[str, float, float]]:
    """List (column, value, value under the other rules of scoring) where these differ, then for `mean` and `median`."""
    known, other = columns_and_statistics(scores["summary"]), scores.get("other_parity")
    if other is None or not other["columns"]:
        return []
    others = {**other["columns"], "mean": other["mean"], "median": other["median"]}
    return [
        (name, known[name]["value"], value) for name, value in others.items() if name in known and value is not None
    ]


def coverage(columns: Mapping[str, object], all_columns: int = len(COLUMNS)) -> str:
    """Coverage of a mean or median of these columns: `9 of 11`."""
    return count_of([len(columns)], all_columns)


def summary_coverage(summary: Summary) -> str:
    """The same of all columns of a summary, with those of one's own tasks, which stand in it or are missing there."""
    return coverage(summary["columns"], len({*COLUMNS, *summary["columns"], *summary["missing"]}))


def answers_of(task: TaskScores) -> int:
    """Number of scored answers of a task: one for each of its n instances, or several samples."""
    return task.get("answers", task["n"])
