"""Scores of one or several runs as the rows and columns of a table, and the sentence that sums them up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sciriff.config import read
from sciriff.results.difference import HIGHER, LOWER, Difference
from sciriff.results.scores import ColumnScore, Scores, Summary, TaskScores, coverage, held_out_of, read_scores
from sciriff.run import number_format
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks.own import columns_of
from sciriff.tasks.task import Task

MISSING = "–"


def titles(tasks: Iterable[Task]) -> dict[str, str]:
    """Column of the summary -> its title, `scierc f1`."""
    return {
        column: f"{task.short_name} {metric}"
        for task in tasks
        for column, metric in zip(task.columns, task.headline, strict=True)
    }


@dataclass(frozen=True)
class RunScores:
    """The scores of one run, under the run's name."""

    name: str
    scores: Scores

    @property
    def summary(self) -> Summary:
        return self.scores["summary"]

    @property
    def held_out(self) -> tuple[Task, ...]:
        """The tasks that it was scored for: the nine of the paper, and then one's own."""
        return held_out_of(self.scores)

    @property
    def columns(self) -> dict[str, ColumnScore]:
        """Columns that have a score, in the paper's order."""
        found = self.summary["columns"]
        return {column: found[column] for column in columns_of(self.held_out) if column in found}

    @property
    def tasks(self) -> dict[str, TaskScores]:
        """Tasks that were scored, in the paper's order."""
        found = self.scores["tasks"]
        return {task.name: found[task.name] for task in self.held_out if task.name in found}

    @property
    def selected(self) -> str | None:
        """What its means say where the model was chosen for some of these scores."""
        return next((score["selected"] for score in self.columns.values() if "selected" in score), None)

    @property
    def samples(self) -> int:
        """Answers to each prompt."""
        return self.scores.get("samples", 1)


def held_out_in(runs: Iterable[RunScores]) -> tuple[Task, ...]:
    """The held-out tasks of some runs, which are what their table shows."""
    return held_out_of(*(run.scores for run in runs))


def read_run_scores(run: RunDir, name: str) -> RunScores:
    """The scores of a run. UserError names the file when it is missing or is not what score.py writes."""
    if not run.scores.is_file():
        raise UserError(f"{run.scores}: there are no scores yet; run the score stage first")
    return RunScores(name, read_scores(run.scores))


def read_beside(folders: list[str]) -> list[RunScores]:
    """The scores of other finished runs, each under the name in its own config."""
    found = []
    for folder in folders:
        run = RunDir(Path(folder))
        if not run.scores.is_file():
            raise UserError(f"report.beside: {folder} has no scores yet; finish that run first, or leave it out")
        # Only the name: an older run's config may have keys that today's schema does not know.
        name = read(run.config).get("name") if run.config.is_file() else None
        found.append(read_run_scores(run, str(name or run.root.name)))
    return found


def points(value: float | None) -> str:
    """A share in [0, 1] as points of 100 with one decimal: 0.5153 is `51.5`."""
    return MISSING if value is None else number_format.points(value, digits=1)


def difference(value: float) -> str:
    """A difference of shares with its sign and a typographic minus: `+18.0`, `−0.4`."""
    return number_format.signed_points(value, digits=1).replace("-", "−")


def order_of(run: RunScores, other: RunScores, column: str) -> str:
    """What the browser of answers shows first of a column that changed: `loss` where the run is below the other."""
    both = column in run.columns and column in other.columns
    return "loss" if both and run.columns[column]["value"] < other.columns[column]["value"] else "gain"


def verdict_sign(found: Difference) -> str:
    """A sign that tells a verdict without its colour."""
    return {HIGHER: "▲", LOWER: "▼"}.get(found.verdict, "≈")


def verdict_kind(found: Difference) -> str:
    """The style's class for a verdict."""
    return found.verdict if found.verdict in (HIGHER, LOWER) else "noise"


def sentence(run: RunScores, beside: Sequence[RunScores]) -> str:
    """The result in one sentence. Differences are over shared columns, whose number is given where a run has others."""
    mean, all_columns = run.summary["mean"], len(columns_of(held_out_in([run, *beside])))
    if mean is None:
        return f"No score: none of the {all_columns} columns could be computed."
    selected = "" if run.selected is None else f"; {run.selected}"
    parts = [f"Mean {points(mean)} (mean of {coverage(run.columns, all_columns)} columns{selected})"]
    for other in beside:
        shared = run.columns.keys() & other.columns.keys()
        if not shared:
            parts.append(f"no column in common with {other.name}")
            continue
        gap = fmean(run.columns[key]["value"] for key in shared) - fmean(other.columns[key]["value"] for key in shared)
        part = f"{difference(gap)} over {other.name}"
        if not shared == run.columns.keys() == other.columns.keys():
            part += f" on the {len(shared)} column{'s'[: len(shared) > 1]} that both have"
        parts.append(part)
    return ", ".join(parts) + "."


def best_per_column(runs: list[RunScores]) -> dict[str, float]:
    """The highest value of each column in which runs differ; it is set in bold."""
    columns = columns_of(held_out_in(runs))
    values = {column: {run.columns[column]["value"] for run in runs if column in run.columns} for column in columns}
    return {column: max(found) for column, found in values.items() if len(found) > 1}
