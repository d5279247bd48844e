"""Scores of one or several runs as the rows and columns of a table, and the sentence that sums them up."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sciriff.config import read
from sciriff.results.summary_table import answers_of, judge_line
from sciriff.run import number_format
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks import HELD_OUT

MISSING = "–"


@dataclass(frozen=True)
class Column:
    """One of the columns that the summary is made of."""

    task: str
    metric: str

    @property
    def key(self) -> str:
        """Its name in scores.json."""
        return f"{self.task}/{self.metric}"


COLUMNS = tuple(Column(task.name, metric) for task in HELD_OUT for metric in task.headline)
SHORT_NAMES = {task.name: task.short_name for task in HELD_OUT}


@dataclass(frozen=True)
class Score:
    """A value and, where score.py made one, its 95 % interval; all in [0, 1]."""

    value: float
    low: float | None = None
    high: float | None = None
    sd_over_samples: float | None = None
    """Where each prompt has several answers."""


@dataclass(frozen=True)
class TaskScores:
    """What scores.json says of one task."""

    n: int
    """Instances."""
    answers: int
    """As many, or several samples of each."""
    missing: int
    """Expected answers that were not there to be scored."""
    end_differs: int
    """Answers that the reference's stripping changes in another way than ours."""
    readable: float | None
    unreadable: dict[str, int]
    details: dict[str, int | float]
    judged: str | None = None
    """What a judge did, as a sentence without its end."""


@dataclass(frozen=True)
class RunScores:
    """What scores.json says of one run, under the run's name."""

    name: str
    model: str
    columns: dict[str, Score]
    tasks: dict[str, TaskScores]
    mean: float | None
    median: float | None
    mean_ci95: tuple[float, float] | None = None
    mean_sd_over_samples: float | None = None
    samples: int = 1
    """Answers to each prompt."""

    @property
    def coverage(self) -> str:
        """What its mean and median are made of: `9 of 11`."""
        return number_format.count_of([len(self.columns)], len(COLUMNS))


def read_scores(run: RunDir, name: str) -> RunScores:
    """The scores of a run. UserError names the file when it is missing or is not what score.py writes."""
    try:
        values = json.loads(run.scores.read_text())
        summary = values["summary"]
        columns = {key: _score(column) for key, column in summary["columns"].items()}
        tasks = {task: _task(given) for task, given in values["tasks"].items()}
        scores = RunScores(
            name=name,
            model=str(values["model"]),
            columns={column.key: columns[column.key] for column in COLUMNS if column.key in columns},
            tasks={task.name: tasks[task.name] for task in HELD_OUT if task.name in tasks},
            mean=_number(summary["mean"]),
            median=_number(summary["median"]),
            mean_ci95=_interval(summary.get("mean_ci95")),
            mean_sd_over_samples=_number(summary.get("mean_sd_over_samples")),
            samples=int(values.get("samples", 1)),
        )
    except FileNotFoundError:
        raise UserError(f"{run.scores}: there are no scores yet; run the score stage first") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{run.scores}: not the scores of a run ({error!r}); run the score stage again") from None
    return scores


def read_beside(folders: list[str]) -> list[RunScores]:
    """The scores of other finished runs, each under the name in its own config."""
    found = []
    for folder in folders:
        run = RunDir(Path(folder))
        if not run.scores.is_file():
            raise UserError(f"report.beside: {folder} has no scores yet; finish that run first, or leave it out")
        # Only the name: an older run's config may have keys that today's schema does not know.
        name = read(run.config).get("name") if run.config.is_file() else None
        found.append(read_scores(run, str(name or run.root.name)))
    return found


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _interval(limits: list[float] | None) -> tuple[float, float] | None:
    if limits is None:
        return None
    low, high = limits
    return float(low), float(high)


def _score(column: dict[str, Any]) -> Score:
    low, high = _interval(column.get("ci95")) or (None, None)
    return Score(float(column["value"]), low, high, _number(column.get("sd_over_samples")))


def _task(given: dict[str, Any]) -> TaskScores:
    return TaskScores(
        n=int(given["n"]),
        answers=answers_of(given),
        missing=int(given.get("missing", 0)),
        end_differs=int(given.get("end_differs", 0)),
        readable=_number(given.get("readable")),
        unreadable={str(kind): int(count) for kind, count in (given.get("unreadable") or {}).items()},
        details={str(key): value for key, value in given.get("details", {}).items() if _is_number(value)},
        judged=judge_line(given["judge"]) if "judge" in given else None,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def points(value: float | None) -> str:
    """A share in [0, 1] as points of 100 with one decimal: 0.5153 is `51.5`."""
    return MISSING if value is None else number_format.points(value, digits=1)


def difference(value: float) -> str:
    """A difference of shares, with its sign and a real minus: `+18.0`, `−0.4`."""
    return number_format.signed_points(value, digits=1).replace("-", "−")


def sentence(run: RunScores, beside: list[RunScores]) -> str:
    """The result in one sentence. Differences are over the columns that both runs have, and it says so when these are
    fewer than this run's."""
    if run.mean is None:
        return f"No score: none of the {len(COLUMNS)} columns could be computed."
    text = f"Mean {points(run.mean)} (mean of {run.coverage} columns)"
    parts = []
    for other in beside:
        shared = [key for key in run.columns if key in other.columns]
        if not shared:
            parts.append(f"no column in common with {other.name}")
            continue
        gap = fmean(run.columns[key].value for key in shared) - fmean(other.columns[key].value for key in shared)
        part = f"{difference(gap)} over {other.name}"
        if set(shared) != set(run.columns) or set(shared) != set(other.columns):
            part += f" on the {len(shared)} column{'s'[: len(shared) > 1]} that both have"
        parts.append(part)
    return ", ".join([text, *parts]) + "."


def best_per_column(rows: list[RunScores]) -> dict[str, float]:
    """The highest value of each column in which runs differ; it is set in bold."""
    best = {}
    for column in COLUMNS:
        values = [row.columns[column.key].value for row in rows if column.key in row.columns]
        if len(set(values)) > 1:
            best[column.key] = max(values)
    return best


def missing_columns(run: RunScores) -> list[str]:
    """The columns that its mean leaves out."""
    return [column.key for column in COLUMNS if column.key not in run.columns]
