"""Pool the seeds of one configuration: which runs they are, and the mean and standard deviation of each column."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from sciriff.results.finished_runs import FinishedRun, tasks_of
from sciriff.results.linear_scores import averaged
from sciriff.results.samples import mean, pooled_spread, spread
from sciriff.results.score_intervals import Term, combined_interval, interval
from sciriff.results.shared_documents import SharedDocuments
from sciriff.results.shared_instances import common_parts, count_instances, shared_documents
from sciriff.run.number_format import count_of
from sciriff.tasks.own import columns_of


@dataclass(frozen=True)
class Group:
    """One run, or several that differ in nothing but their seed."""

    runs: tuple[FinishedRun, ...]

    @property
    def name(self) -> str:
        """The run's name; for several runs without the seed: `llama2_7b-scitulu (3 seeds)`."""
        if len(self.runs) == 1:
            return self.runs[0].name
        bare = {re.sub(rf"-s{run.seed}(?=-|$)", "", run.name) for run in self.runs}
        return f"{bare.pop() if len(bare) == 1 else self.runs[0].name} ({len(self.runs)} seeds)"


@dataclass(frozen=True)
class Value:
    """A score (0-1) of one run, or the mean over its seeds and their standard deviation."""

    mean: float
    sd: float | None
    runs: int
    sd_over_samples: float | None = None
    """Standard deviation over the samples of each prompt, if there are several."""


@dataclass(frozen=True)
class Pooled:
    """One column, or the mean of all, over the seeds of one configuration on the same n instances."""

    name: str
    n: int
    value: Value
    ci95: tuple[float, float] | None = None
    """Over instances, of the mean over these seeds; None without resamples or with a single instance."""


def pool_seeds(runs: Sequence[FinishedRun]) -> list[Group]:
    """Group runs whose configs differ in the seed alone, in the order of their first runs. Runs with the same seed (a
    run and its copy) stay apart, and so do seeds that share no instance."""
    groups: list[list[FinishedRun]] = []
    for run in runs:
        for group in groups:
            same = run.identity is not None and run.identity == group[0].identity
            if same and run.seed not in {member.seed for member in group} and _share_instances([*group, run]):
                group.append(run)
                break
        else:
            groups.append([run])
    return [Group(tuple(group)) for group in groups]


def _share_instances(runs: Sequence[FinishedRun]) -> bool:
    return any(
        set.intersection(*({instance for instance, _ in run.numbers.get(task, {})} for run in runs))
        for task in runs[0].numbers
    )


def pooled(group: Group, resamples: int = 0) -> tuple[list[Pooled], list[str], list[SharedDocuments]]:
    """Pool every column on the instances that all seeds answered; the columns' mean is last. Returns them, notes, and
    the tasks with several instances about one document.

    With `resamples` they have intervals; the mean has one if every column has. UserError if the runs share no instance
    or were scored by different rules.
    """
    parts, notes = common_parts(group.runs)
    columns, scores, terms = [], [], []
    for part in parts:
        values = [part.values(run) for run in range(len(group.runs))]
        linear = part.linear() if resamples else []
        for name in part.columns:
            scores.append(values_of(name, values))
            of_all = averaged([run[name] for run in linear]) if linear else None
            terms += [Term(1, of_all, part.task.name)] if of_all else []
            limits = interval(of_all) if of_all else None
            columns.append(Pooled(name, part.n_of(name), value_of(scores[-1]), limits))
    n = count_instances((part.task.name, part.n_of(name)) for part in parts for name in part.columns)
    limits = combined_interval([replace(term, weight=1 / len(columns)) for term in terms]) if terms else None
    mean_value = value_of(mean_of_columns(scores))
    columns.append(Pooled(mean_name(len(columns), group.runs), n, mean_value, limits))
    return columns, notes, shared_documents(parts)


def value_of(runs: Sequence[Sequence[float]]) -> Value:
    """Pool the scores of each run's samples."""
    means = [mean(samples) for samples in runs]
    return Value(fmean(means), spread(means), len(means), pooled_spread([spread(samples) for samples in runs]))


def mean_of_columns(columns: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Average columns sample by sample for each run; over its samples' means if not every task has all samples."""
    means = []
    for run in zip(*columns, strict=True):
        whole = len({len(samples) for samples in run}) == 1
        means.append(np.mean(run if whole else [[mean(samples)] for samples in run], axis=0).tolist())
    return means


def values_of(column: str, runs: Sequence[Sequence[Mapping[str, float]]]) -> list[list[float]]:
    """Values of one column in each run's samples."""
    return [[sample[column] for sample in samples] for samples in runs]


def mean_name(columns: int, runs: Sequence[FinishedRun]) -> str:
    """Name of the mean of this many columns of some runs: `mean of 9 of 11`."""
    return f"mean of {count_of([columns], len(columns_of(tasks_of(runs))))}"
