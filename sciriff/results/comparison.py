"""How two runs, or two sets of seeds, differ on the instances that both answered, and what the difference is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sciriff.results.difference import Difference
from sciriff.results.general_comparison import GeneralComparison, compare_general_seeds
from sciriff.results.linear_scores import LinearScore, averaged
from sciriff.results.paired_test import Parts, difference_parts, sign_flip_test
from sciriff.results.score_intervals import Term, combined_interval, detectable, note
from sciriff.results.seeds import Group, mean_name, mean_of_columns, value_of, values_of
from sciriff.results.shared_documents import SharedDocuments
from sciriff.results.shared_instances import common_parts, count_instances, shared_documents
from sciriff.results.statistics import holm
from sciriff.results.task_columns import TaskColumns

LEAST_DETECTABLE = 1e-9
"""A smaller one is the rounding of scores that do not vary, such as 0 of 50 beside 50 of 50: they tell no spread."""


@dataclass(frozen=True)
class Comparison:
    """One run, or set of seeds, against the baseline."""

    group: Group
    columns: list[Difference]
    mean: Difference | None
    """Mean of the columns above; None if there is only one."""
    notes: list[str]
    """Instances and columns that are left out, and why; thoughts of one side alone; intervals that are rough."""
    documents: list[SharedDocuments]
    """Tasks with several instances about one document."""
    general: GeneralComparison | None = None
    """The general tasks; None where some run has none."""


def compare(baseline: Group, group: Group, resamples: int) -> Comparison:
    """Compare every column that both have, on the instances that all of their runs answered. UserError if they share no
    instance or were scored by different rules."""
    parts, notes = common_parts([*baseline.runs, *group.runs])
    measured = [column for part in parts for column in _measure(part, len(baseline.runs))]
    found = [_difference([column], column.name, resamples) for column in measured]
    adjusted = holm([column.p for column in found])
    columns = [replace(column, p_holm=p_holm) for column, p_holm in zip(found, adjusted, strict=True)]
    name = mean_name(len(measured), [*baseline.runs, *group.runs])
    of_all = _difference(measured, name, resamples) if len(measured) > 1 else None
    of_general, general_notes = _general(baseline, group, resamples)
    notes = [*notes, *_thought_notes(baseline, group), *_interval_notes(measured), *general_notes]
    return Comparison(group, columns, of_all, notes, shared_documents(parts), of_general)


def _thought_notes(baseline: Group, group: Group) -> list[str]:
    """A line if the model of one side thinks before it answers, and that of the other does not."""
    thinking = [side.name for side in (baseline, group) if any(run.thoughts for run in side.runs)]
    return [f"thoughts before the answers: in {thinking[0]} alone"] if len(thinking) == 1 else []


def _interval_notes(columns: Sequence["_Column"]) -> list[str]:
    """Lines that name the columns whose interval is made of one that has a note in scores.json."""
    noted: dict[str, list[str]] = {}
    for column in columns:
        for text in dict.fromkeys(filter(None, map(note, column.scores))):
            noted.setdefault(text, []).append(column.name)
    return [f"{', '.join(names)}: 95 % interval: {text}" for text, names in noted.items()]


def _general(baseline: Group, group: Group, resamples: int) -> tuple[GeneralComparison | None, list[str]]:
    """Compare the general tasks if all runs have them; a note says which run has none beside others that do."""
    runs = [*baseline.runs, *group.runs]
    having = [run.general for run in runs if run.general is not None]
    if len(having) == len(runs):
        ours, theirs = having[: len(baseline.runs)], having[len(baseline.runs) :]
        return compare_general_seeds(ours, theirs, resamples, (baseline.name, group.name)), []
    lacking = next(run.name for run in runs if run.general is None)
    return None, [f"general tasks: not in {lacking}"] if having else []


@dataclass(frozen=True)
class _Column:
    """One column of two runs, or sets of seeds: the numbers that decide what its difference is worth."""

    name: str
    task: str
    n: int
    values: tuple[list[list[float]], list[list[float]]]
    """(baseline, other): for each run the values of its samples."""
    scores: tuple[LinearScore, LinearScore]
    """(baseline, other): seeds and samples have no partners in the other run, so each is a mean over its own."""
    differ: npt.NDArray[np.bool_]
    """Whether the numbers of a unit that the column is made of differ in the two, [units]."""

    def terms(self, weight: float) -> list[Term]:
        ours, theirs = self.scores
        return [Term(-weight, ours, self.task), Term(weight, theirs, self.task)]


def _measure(part: TaskColumns, baselines: int) -> list[_Column]:
    """Measure the columns of a part whose first `baselines` runs are the baseline's."""
    values = [part.values(run) for run in range(len(part.rows))]
    linear = part.linear()
    means = [run.mean(axis=0) for run in part.rows]
    before, after = (part.in_units(np.mean(side, axis=0)) for side in (means[:baselines], means[baselines:]))
    found = []
    for name in part.columns:
        sides = slice(baselines), slice(baselines, None)
        ours, theirs = (averaged([run[name] for run in linear[side]]) for side in sides)
        found.append(
            _Column(
                name=name,
                task=part.task.name,
                n=part.n_of(name),
                values=(values_of(name, values[:baselines]), values_of(name, values[baselines:])),
                scores=(ours, theirs),
                differ=np.any((before != after) & (ours.used | theirs.used), axis=1),
            )
        )
    return found


def _difference(columns: Sequence[_Column], name: str, resamples: int) -> Difference:
    """What the difference of some columns' mean, or of a single one, is worth, before Holm's correction. Tasks are
    independent, and the columns of one task change their signs together."""
    weight = 1 / len(columns)
    ours, theirs = (mean_of_columns([column.values[side] for column in columns]) for side in (0, 1))
    parts = []
    for task in dict.fromkeys(column.task for column in columns):
        of_task = [column for column in columns if column.task == task]
        added = weight * np.sum([difference_parts(*column.scores, column.differ) for column in of_task], axis=0)
        parts.append(Parts(task, added, max(int(score.units) for column in of_task for score in column.scores)))
    p, every = sign_flip_test(parts, resamples)
    terms = [term for column in columns for term in column.terms(weight)]
    limits = combined_interval(terms)
    varies = limits is not None and any(column.differ.any() for column in columns)
    seen = float(detectable(terms)) if varies else 0.0
    return Difference(
        name=name,
        n=count_instances((column.task, column.n) for column in columns),
        baseline=value_of(ours),
        value=value_of(theirs),
        ci95=limits,
        p=p,
        exact=every,
        detectable=seen if seen > LEAST_DETECTABLE else None,
        p_holm=None,
    )
