"""scores.json: what the score stage writes of a run, and what everybody else reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from sciriff.run.number_format import count_of
from sciriff.run.typed_json import parsed_json
from sciriff.run.whole_file import write_whole
from sciriff.tasks import COLUMNS


class ColumnScore(TypedDict):
    """A column of the summary, or the mean of several; all in [0, 1]."""

    value: float
    ci95: NotRequired[tuple[float, float]]
    sd_over_samples: NotRequired[float]
    """Where each prompt has several answers: the standard deviation of the scores of one each."""


class Summary(TypedDict):
    """The columns that have a value, their mean and median (None without any), and the names of the others."""

    columns: dict[str, ColumnScore]
    mean: float | None
    median: float | None
    missing: list[str]
    mean_sd_over_samples: NotRequired[float]
    mean_ci95: NotRequired[tuple[float, float]]


class JudgeReport(TypedDict):
    """What a judge did to the answers of a task."""

    judge: str
    judged: int
    unreadable: int
    missing_answers: int
    """Rated 1 without being asked about."""
    not_judged: int
    """Answers without a rating that should have one."""


class TaskScores(TypedDict):
    """One task. Counts are of all answers, values are means over samples."""

    n: int
    """Instances."""
    missing: int
    """Expected answers that were not there to be scored."""
    benchmark: int | None
    """Instances that SciRIFF's validation split has, where nobody wrote down how many were asked for."""
    readable: float
    unreadable: dict[str, int]
    end_differs: int
    """Answers of which the reference's stripping leaves something else than ours."""
    truncated_prompts: int
    """This and the next three: what the model did not see, and did not get to say."""
    truncated_tokens: int
    skipped_prompts: int
    cut_answers: int
    rated: int
    headline: dict[str, float]
    details: dict[str, int | float]
    """By the reference's flat names."""
    answers: NotRequired[int]
    """Where there are several samples of each."""
    sd_over_samples: NotRequired[dict[str, float | None]]
    judge: NotRequired[JudgeReport]


class TaskDifferences(TypedDict):
    """What the other rules of scoring change in one task."""

    answers: int
    """That count otherwise."""
    judged: int
    """Of these the rated ones; a judge would have been shown another text."""
    details: dict[str, int | float]
    """Those that have another value there, and that value."""


class OtherParity(TypedDict):
    """What the same answers score under the other value of `eval.parity`."""

    parity: str
    columns: dict[str, float]
    """Those of the summary that have another value there."""
    mean: float | None
    median: float | None
    tasks: dict[str, TaskDifferences]


class Scores(TypedDict):
    """The whole file."""

    model: str
    parity: str
    samples: NotRequired[int]
    """Answers to each prompt, where it is more than one."""
    tasks: dict[str, TaskScores]
    summary: Summary
    other_parity: NotRequired[OtherParity]
    """Not in files of earlier versions."""


class _SummaryAlone(TypedDict):
    summary: Summary


def read_scores(path: Path) -> Scores:
    """The scores of a run. UserError names the file that is missing or broken."""
    return _parsed(path.read_bytes(), Scores, path)


def read_summary(path: Path) -> Summary:
    """The summary alone; other versions may have written the rest."""
    return parsed_summary(path.read_bytes(), path)


def parsed_summary(data: bytes, path: Path) -> Summary:
    """As `read_summary`, of the bytes of the file."""
    return _parsed(data, _SummaryAlone, path)["summary"]


def _parsed(data: bytes, kind: Any, path: Path) -> Any:
    return parsed_json(data, kind, path, "the scores of a run", "run the score stage again")


def write_scores(path: Path, scores: Scores) -> None:
    """Write it whole or not at all."""
    write_whole(path, json.dumps(scores, indent=2, allow_nan=False) + "\n")


def columns_and_statistics(summary: Summary) -> dict[str, ColumnScore]:
    """The columns that have a score, and `mean` and `median` where there are any, as if they were columns."""
    found = dict(summary["columns"])
    if summary["mean"] is not None:
        found["mean"] = {"value": summary["mean"]}
        if "mean_ci95" in summary:
            found["mean"]["ci95"] = summary["mean_ci95"]
        if "mean_sd_over_samples" in summary:
            found["mean"]["sd_over_samples"] = summary["mean_sd_over_samples"]
    if summary["median"] is not None:
        found["median"] = {"value": summary["median"]}
    return found


def other_values(scores: Scores) -> list[tuple[str, float, float]]:
    """(column, value, value under the other rules of scoring) where these differ; then so for `mean` and `median`."""
    known, other = columns_and_statistics(scores["summary"]), scores.get("other_parity")
    if other is None or not other["columns"]:
        return []
    there = {**other["columns"], "mean": other["mean"], "median": other["median"]}
    return [(name, known[name]["value"], to) for name, to in there.items() if name in known and to is not None]


def coverage(columns: Mapping[str, object]) -> str:
    """What a mean and a median of these columns are made of: `9 of 11`."""
    return count_of([len(columns)], len(COLUMNS))


def answers_of(task: TaskScores) -> int:
    """How many answers of a task were scored: one to each of its n instances, or several samples."""
    return task.get("answers", task["n"])
