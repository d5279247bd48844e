"""How two runs, or two sets of seeds, differ on the instances that both answered, and what the difference is worth."""

from dataclasses import dataclass

import numpy as np

from sciriff.results.difference import Difference, Measured, mean_of
from sciriff.results.general_comparison import GeneralComparison, compare_general_seeds
from sciriff.results.resampled_columns import TaskColumns
from sciriff.results.seeds import Group, mean_name, mean_over_runs, values_of
from sciriff.results.shared_instances import common_parts
from sciriff.results.statistics import holm, swapped_sums


@dataclass(frozen=True)
class Comparison:
    """One run, or set of seeds, against the baseline."""

    group: Group
    columns: list[Difference]
    mean: Difference | None
    """Mean of the columns above; None if there is only one."""
    notes: list[str]
    """Instances and columns that are left out, and why."""
    general: GeneralComparison | None = None
    """The general tasks; None where some run has none."""


def compare(baseline: Group, group: Group, resamples: int) -> Comparison:
    """Compare every column that both have, on the instances that all of their runs answered. UserError if they share no
    instance or were scored by different rules."""
    parts, notes = common_parts([*baseline.runs, *group.runs])
    measured = [column for part in parts for column in _measure(part, len(baseline.runs), resamples)]
    adjusted = holm([column.p for column in measured])
    columns = [column.difference(p_holm) for column, p_holm in zip(measured, adjusted, strict=True)]
    name = mean_name(len(measured), [*baseline.runs, *group.runs])
    of_all = mean_of(measured, name) if len(measured) > 1 else None
    of_general, general_notes = _general(baseline, group, resamples)
    return Comparison(group, columns, of_all.difference(None) if of_all else None, [*notes, *general_notes], of_general)


def _general(baseline: Group, group: Group, resamples: int) -> tuple[GeneralComparison | None, list[str]]:
    """Compare the general tasks if all runs have them; a note says which run has none beside others that do."""
    runs = [*baseline.runs, *group.runs]
    having = [run.general for run in runs if run.general is not None]
    if len(having) == len(runs):
        ours, theirs = having[: len(baseline.runs)], having[len(baseline.runs) :]
        return compare_general_seeds(ours, theirs, resamples, (baseline.name, group.name)), []
    lacking = next(run.name for run in runs if run.general is None)
    return None, [f"general tasks: not in {lacking}"] if having else []


def _measure(part: TaskColumns, baselines: int, resamples: int) -> list[Measured]:
    """Measure the columns of a part whose first `baselines` runs are the baseline's."""
    values = [part.values(run) for run in range(len(part.rows))]
    resampled = part.resampled(resamples)
    # Seeds and samples have no partners to change places with, so they are averaged before a unit is swapped.
    means = [run.mean(axis=0) for run in part.rows]
    before, after = np.mean(means[:baselines], axis=0), np.mean(means[baselines:], axis=0)
    ours, theirs = part.in_units(before), part.in_units(after)
    swapped, exact = swapped_sums(theirs - ours, resamples, part.task.name)
    their_sums, our_sums = theirs.sum(axis=0), ours.sum(axis=0)
    observed = [part.scores(sums) for sums in (their_sums, our_sums)]
    permuted = [part.scores(sums) for sums in (their_sums - swapped, our_sums + swapped)]
    return [
        Measured(
            name=column,
            task=part.task.name,
            n=part.n_of(column),
            values=(values_of(column, values[:baselines]), values_of(column, values[baselines:])),
            resampled=mean_over_runs(resampled[baselines:], column) - mean_over_runs(resampled[:baselines], column),
            observed=float(observed[0][column] - observed[1][column]),
            permuted=permuted[0][column] - permuted[1][column],
            exact=exact,
            differ=bool(np.any((before != after)[part.used(column)])),
            smallest=part.n_of(column),
        )
        for column in part.columns
    ]
