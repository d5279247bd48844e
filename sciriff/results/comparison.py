"""How two runs, or two sets of seeds, differ on the instances that both answered, and what the difference is worth."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

import numpy as np

from sciriff.data.records import AnswerKey
from sciriff.results.finished_runs import FinishedRun, Group
from sciriff.results.per_instance import InstanceNumbers
from sciriff.results.resampled_columns import LEAST, ColumnPart, parts
from sciriff.results.samples import mean, pooled_spread, spread
from sciriff.results.statistics import ALPHA, Array, detectable, drawn_from_all, holm, interval, p_value, swapped_sums
from sciriff.run.user_error import UserError
from sciriff.tasks import COLUMNS, HELD_OUT
from sciriff.tasks.task import Task

SEED_ERRORS = 2.0
"""Standard errors over seeds that a difference must exceed. A rule of thumb: two or three seeds allow no sharp test."""

HIGHER, LOWER = "higher", "lower"
NOISE, SEED_NOISE = "within noise", "within seed noise"


@dataclass(frozen=True)
class Value:
    """A score (0-1): of one run, or the mean over its seeds and their standard deviation."""

    mean: float
    sd: float | None
    runs: int
    sd_over_samples: float | None = None
    """Where each prompt has several answers: the standard deviation of the scores of one each."""


@dataclass(frozen=True)
class Difference:
    """One column, or the mean of several, in two runs on the same n instances. Scores and differences are 0-1."""

    name: str
    n: int
    baseline: Value
    value: Value
    ci95: tuple[float, float] | None
    """Paired bootstrap over instances; None where one instance is all there is."""
    p: float
    """Paired permutation test, two-sided."""
    exact: bool
    """Every permutation was tried."""
    detectable: float | None
    """The smallest true difference that such a pair would show (80 % power at 5 %); None where no answer differs."""
    p_holm: float | None
    """p, adjusted for the number of columns; None for the mean, which is one number."""

    @property
    def difference(self) -> float:
        return self.value.mean - self.baseline.mean

    @property
    def verdict(self) -> str:
        """higher or lower than the baseline, or which noise explains it."""
        if (self.p if self.p_holm is None else self.p_holm) >= ALPHA:
            return NOISE
        if abs(self.difference) <= SEED_ERRORS * _seed_error(self.baseline, self.value):
            return SEED_NOISE
        return HIGHER if self.difference > 0 else LOWER


@dataclass(frozen=True)
class Pooled:
    """One column, or the mean of all, of the seeds of one configuration on the same n instances."""

    name: str
    n: int
    value: Value
    ci95: tuple[float, float] | None = None
    """Bootstrap over instances of the mean over these seeds; None where it was not asked for or n is 1."""


@dataclass(frozen=True)
class Comparison:
    """One run, or set of seeds, against the baseline."""

    group: Group
    columns: list[Difference]
    mean: Difference | None
    """Of the columns above; None where there is only one."""
    notes: list[str]
    """What a reader must know: which instances and columns are not in it, and why."""


def _seed_error(one: Value, other: Value) -> float:
    """Standard error of the difference over seeds. A single run is taken to vary as the other's seeds do."""
    known = [value.sd for value in (one, other) if value.sd is not None]
    if not known:
        return 0.0
    return sqrt(sum((value.sd if value.sd is not None else known[0]) ** 2 / value.runs for value in (one, other)))


def compare(baseline: Group, group: Group, resamples: int) -> Comparison:
    """Every column that both have, on the instances that all of their runs answered.

    UserError where they share no instance, and where they were scored by different rules.
    """
    found, notes = _common_parts([*baseline.runs, *group.runs])
    measured = [column for part in found for column in _measure(part, len(baseline.runs), resamples)]
    adjusted = holm([column.p for column in measured])
    columns = [column.difference(p_holm) for column, p_holm in zip(measured, adjusted, strict=True)]
    of_all = _mean(measured) if len(measured) > 1 else None
    return Comparison(group, columns, of_all.difference(None) if of_all else None, notes)


def pooled(group: Group, resamples: int = 0) -> tuple[list[Pooled], list[str]]:
    """Every column of a set of seeds on the instances that all of them answered, their mean last, and notes; with
    intervals where there are `resamples`. The mean has one where every column has.

    UserError where they share no instance, and where they were scored by different rules.
    """
    found, notes = _common_parts(group.runs)
    columns, scores, drawn = [], [], []
    for part in found:
        values = [part.values(run) for run in range(len(group.runs))]
        resampled = part.resampled(resamples) if resamples else None
        for name in part.columns:
            scores.append(_of(name, values))
            drawn += [_mean_of(resampled, name)] if resampled else []
            limits = interval(drawn[-1]) if resampled and part.n >= LEAST else None
            columns.append(Pooled(name, part.n, _value(scores[-1]), limits))
    of_all = _value(_mean_of_columns(scores))
    n = _instances((part.task.name, part.n) for part in found)
    limits = interval(np.mean(drawn, axis=0)) if drawn and all(column.ci95 for column in columns) else None
    return [*columns, Pooled(_mean_name(len(columns)), n, of_all, limits)], notes


def _common_parts(runs: Sequence[FinishedRun]) -> tuple[list[ColumnPart], list[str]]:
    """The columns that all runs have, on the instances that all of them answered, and what a reader must know."""
    first = runs[0]
    for run in runs:
        if run.parity != first.parity:
            raise UserError(
                f"{first.folder} was scored with eval.parity={first.parity} and {run.folder} with "
                f"eval.parity={run.parity}; score both by the same rules"
            )
    notes: list[str] = []
    found = [part for task in HELD_OUT for part in _shared_parts(task, runs, notes)]
    if not found:
        names = " and ".join(run.name for run in runs)
        raise UserError(
            f"{names} share no instances that a column is made of, so nothing can be compared"
            + (f" ({'; '.join(notes)})" if notes else "")
        )
    return found, notes


def _shared_parts(task: Task, runs: Sequence[FinishedRun], notes: list[str]) -> list[ColumnPart]:
    """The columns of a task on the instances that all runs answered; notes what is left out."""
    tables = [run.numbers.get(task.name, {}) for run in runs]
    if not any(tables):
        return []
    answered = [{instance_id for instance_id, _ in table} for table in tables]
    shared = sorted(answered[0].intersection(*answered))  # an order of its own: the runs' may differ
    counts = sorted({len(instances) for instances in answered})
    if not shared:
        lacking = [run.name for run, table in zip(runs, tables, strict=True) if not table]
        notes.append(f"{task.name}: {f'not in {lacking[0]}' if lacking else 'no instance is shared'}")
        return []
    if len(shared) < counts[-1]:
        notes.append(f"{task.name}: only {len(shared)} instances are shared, of {' and '.join(map(str, counts))}")
    references = [{instance_id: row.reference for (instance_id, _), row in table.items()} for table in tables]
    odd = sum(len({of_run[instance_id] for of_run in references}) > 1 for instance_id in shared)
    if odd:
        notes.append(f"{task.name}: the runs were given different references for {odd} of the {len(shared)} instances")
    found = parts(task, [_vectors(task, table, shared) for table in tables])
    for column in task.judged_columns:
        judges = [run.judges.get(task.name) for run in runs]
        if not any(column in part.columns for part in found):
            if any(judges):
                notes.append(f"{column}: not judged in every run")
        elif len(set(judges)) > 1:
            notes.append(f"{column}: judged by {' and by '.join(sorted({str(judge) for judge in judges}))}")
    return found


def _vectors(task: Task, table: Mapping[AnswerKey, InstanceNumbers], instances: Sequence[str]) -> Array:
    """[samples, n, k]; 0 where an instance lacks a sample."""
    lacking = (0.0,) * len(task.fields)
    return np.array(
        [
            [table[i, number].vector if (i, number) in table else lacking for i in instances]
            for number in sorted({number for _, number in table})
        ],
        dtype=float,
    )


@dataclass(frozen=True)
class _Measured:
    """One column, or the mean of several, with its resampled differences; the p-value is not adjusted yet."""

    name: str
    task: str
    n: int
    values: tuple[list[list[float]], list[list[float]]]
    """Of each run, of each of its samples: the baseline's, the other's."""
    resampled: Array
    """Differences in bootstrap samples, [resamples]."""
    observed: float
    """The difference that is set against the permuted ones. Of pooled seeds not quite that of the means."""
    permuted: Array
    """Differences after permutations, [permutations]."""
    drawn: Array
    """`resamples` of them at random, to add up with those of other columns."""
    exact: bool
    differ: bool
    """Some instance has other numbers in one run than in the other."""

    @property
    def p(self) -> float:
        return p_value(self.observed, self.permuted, self.exact)

    def difference(self, p_holm: float | None) -> Difference:
        baseline, value = map(_value, self.values)
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


def _value(runs: Sequence[Sequence[float]]) -> Value:
    """Of the scores of each run's samples."""
    means = [mean(samples) for samples in runs]
    sd = stdev(means) if len(means) > 1 else None
    return Value(fmean(means), sd, len(means), pooled_spread([spread(samples) for samples in runs]))


def _mean_of_columns(columns: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """The mean of several columns, of each run's samples; of its samples' mean where not every task has all of them."""
    means = []
    for run in zip(*columns, strict=True):
        whole = len({len(samples) for samples in run}) == 1
        means.append(np.mean(run if whole else [[mean(samples)] for samples in run], axis=0).tolist())
    return means


def _measure(part: ColumnPart, baselines: int, resamples: int) -> list[_Measured]:
    """The columns of a part, of whose runs the first `baselines` are the baseline's."""
    values = [part.values(run) for run in range(len(part.rows))]
    resampled = part.resampled(resamples)
    # Seeds and samples have no partners to change places with, so their numbers are averaged before an instance is
    # swapped.
    rows = [run.mean(axis=0) for run in part.rows]
    ours, theirs = np.mean(rows[:baselines], axis=0), np.mean(rows[baselines:], axis=0)
    swapped, exact = swapped_sums(theirs - ours, resamples, part.task.name)
    observed = _less(part.scores(theirs.sum(axis=0)), part.scores(ours.sum(axis=0)))
    permuted = _less(part.scores(theirs.sum(axis=0) - swapped), part.scores(ours.sum(axis=0) + swapped))
    return [
        _Measured(
            name=column,
            task=part.task.name,
            n=part.n,
            values=(_of(column, values[:baselines]), _of(column, values[baselines:])),
            resampled=_mean_of(resampled[baselines:], column) - _mean_of(resampled[:baselines], column),
            observed=float(observed[column]),
            permuted=permuted[column],
            drawn=drawn_from_all(permuted[column], resamples, part.task.name) if exact else permuted[column],
            exact=exact,
            differ=bool(np.any(ours != theirs)),
        )
        for column in part.columns
    ]


def _of(column: str, runs: Sequence[Sequence[Mapping[str, float]]]) -> list[list[float]]:
    return [[sample[column] for sample in samples] for samples in runs]


def _mean(columns: Sequence[_Measured]) -> _Measured:
    """The mean of some columns. Tasks are resampled and permuted independently, the columns of one task together."""
    drawn = np.mean([column.drawn for column in columns], axis=0)
    ours, theirs = (_mean_of_columns([column.values[side] for column in columns]) for side in (0, 1))
    return _Measured(
        name=_mean_name(len(columns)),
        task="",
        n=_instances((column.task, column.n) for column in columns),
        values=(ours, theirs),
        resampled=np.mean([column.resampled for column in columns], axis=0),
        observed=fmean(column.observed for column in columns),
        permuted=drawn,
        drawn=drawn,
        exact=False,
        differ=any(column.differ for column in columns),
    )


def _instances(counts: Iterable[tuple[str, int]]) -> int:
    """How many instances there are, of (task, instances behind one of its columns)."""
    largest: dict[str, int] = {}
    for task, n in counts:
        largest[task] = max(n, largest.get(task, 0))
    return sum(largest.values())


def _mean_name(columns: int) -> str:
    return f"mean of {columns} of {len(COLUMNS)}"


def _less(one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, Array]:
    return {column: one[column] - other[column] for column in one}


def _mean_of(runs: Sequence[Mapping[str, Array]], column: str) -> Array:
    return np.asarray(np.mean([run[column] for run in runs], axis=0))
