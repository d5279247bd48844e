"""How two runs, or two sets of seeds, differ on the instances that both answered, and what the difference is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

import numpy as np

from sciriff.results.resampled_columns import LEAST, TaskColumns
from sciriff.results.seeds import Group, Value, mean_name, mean_of_columns, mean_over_runs, value_of, values_of
from sciriff.results.shared_instances import common_parts, count_instances
from sciriff.results.statistics import ALPHA, Array, detectable, drawn_from_all, holm, interval, p_value, swapped_sums

SEED_ERRORS = 2.0
"""Standard errors over seeds that a difference must exceed. A rule of thumb: two or three seeds allow no sharp test."""

HIGHER, LOWER = "higher", "lower"
NOISE, SEED_NOISE = "within noise", "within seed noise"


@dataclass(frozen=True)
class Difference:
    """One column, or the mean of several, in two runs on the same n instances. Scores and differences are 0-1."""

    name: str
    n: int
    baseline: Value
    value: Value
    ci95: tuple[float, float] | None
    """Paired bootstrap over instances; None with a single instance."""
    p: float
    """Paired permutation test, two-sided."""
    exact: bool
    """Every permutation was tried."""
    detectable: float | None
    """Smallest true difference that such a pair would show (80 % power at 5 %); None if no answer differs."""
    p_holm: float | None
    """p after Holm's correction over the columns; None for the mean, which is one number."""

    @property
    def difference(self) -> float:
        return self.value.mean - self.baseline.mean

    @property
    def verdict(self) -> str:
        """Higher or lower than the baseline, or the noise that explains the difference."""
        if (self.p if self.p_holm is None else self.p_holm) >= ALPHA:
            return NOISE
        if abs(self.difference) <= SEED_ERRORS * _seed_error(self.baseline, self.value):
            return SEED_NOISE
        return HIGHER if self.difference > 0 else LOWER


@dataclass(frozen=True)
class Comparison:
    """One run, or set of seeds, against the baseline."""

    group: Group
    columns: list[Difference]
    mean: Difference | None
    """Mean of the columns above; None if there is only one."""
    notes: list[str]
    """Instances and columns that are left out, and why."""


def _seed_error(one: Value, other: Value) -> float:
    """Standard error over seeds; 0 for two single runs. Beside seeds a single run is taken to vary as they do."""
    known = next((value.sd for value in (one, other) if value.sd is not None), 0.0)
    return sqrt(sum((known if value.sd is None else value.sd) ** 2 / value.runs for value in (one, other)))


def compare(baseline: Group, group: Group, resamples: int) -> Comparison:
    """Compare every column that both have, on the instances that all of their runs answered. UserError if they share no
    instance or were scored by different rules."""
    parts, notes = common_parts([*baseline.runs, *group.runs])
    measured = [column for part in parts for column in _measure(part, len(baseline.runs), resamples)]
    adjusted = holm([column.p for column in measured])
    columns = [column.difference(p_holm) for column, p_holm in zip(measured, adjusted, strict=True)]
    name = mean_name(len(measured), [*baseline.runs, *group.runs])
    of_all = _mean(measured, name) if len(measured) > 1 else None
    return Comparison(group, columns, of_all.difference(None) if of_all else None, notes)


@dataclass(frozen=True)
class _Measured:
    """One column, or the mean of several, with its resampled differences, before Holm's correction."""

    name: str
    task: str
    n: int
    values: tuple[list[list[float]], list[list[float]]]
    """(baseline, other): for each run the values of its samples."""
    resampled: Array
    """Differences in bootstrap samples, [resamples]."""
    observed: float
    """Difference that the permuted ones are compared with; for pooled seeds not quite that of the means."""
    permuted: Array
    """Differences after permutations, [permutations]."""
    exact: bool
    differ: bool
    """Some instance has different numbers in the two."""

    @property
    def p(self) -> float:
        return p_value(self.observed, self.permuted, self.exact)

    @property
    def drawn(self) -> Array:
        """As many permuted differences as there are resamples, to average with those of other columns."""
        return drawn_from_all(self.permuted, len(self.resampled), self.task) if self.exact else self.permuted

    def difference(self, p_holm: float | None) -> Difference:
        baseline, value = map(value_of, self.values)
        return Difference(
            name=self.name,
            n=self.n,
            baseline=baseline,
            value=value,
            ci95=interval(self.resampled) if self.n >= LEAST else None,
            p=self.p,
            exact=self.exact,
            detectable=detectable(self.resampled) if self.n >= LEAST and self.differ else None,
            p_holm=p_holm,
        )


def _measure(part: TaskColumns, baselines: int, resamples: int) -> list[_Measured]:
    """Measure the columns of a part whose first `baselines` runs are the baseline's."""
    values = [part.values(run) for run in range(len(part.rows))]
    resampled = part.resampled(resamples)
    # Seeds and samples have no partners to change places with, so they are averaged before an instance is swapped.
    rows = [run.mean(axis=0) for run in part.rows]
    ours, theirs = np.mean(rows[:baselines], axis=0), np.mean(rows[baselines:], axis=0)
    swapped, exact = swapped_sums(theirs - ours, resamples, part.task.name)
    their_sums, our_sums = theirs.sum(axis=0), ours.sum(axis=0)
    observed = [part.scores(sums) for sums in (their_sums, our_sums)]
    permuted = [part.scores(sums) for sums in (their_sums - swapped, our_sums + swapped)]
    return [
        _Measured(
            name=column,
            task=part.task.name,
            n=part.n,
            values=(values_of(column, values[:baselines]), values_of(column, values[baselines:])),
            resampled=mean_over_runs(resampled[baselines:], column) - mean_over_runs(resampled[:baselines], column),
            observed=float(observed[0][column] - observed[1][column]),
            permuted=permuted[0][column] - permuted[1][column],
            exact=exact,
            differ=bool(np.any(ours != theirs)),
        )
        for column in part.columns
    ]


def _mean(columns: Sequence[_Measured], name: str) -> _Measured:
    """Average columns. Tasks are resampled and permuted independently, the columns of one task together."""
    ours, theirs = (mean_of_columns([column.values[side] for column in columns]) for side in (0, 1))
    return _Measured(
        name=name,
        task="",
        n=count_instances((column.task, column.n) for column in columns),
        values=(ours, theirs),
        resampled=np.mean([column.resampled for column in columns], axis=0),
        observed=fmean(column.observed for column in columns),
        permuted=np.mean([column.drawn for column in columns], axis=0),
        exact=False,
        differ=any(column.differ for column in columns),
    )
