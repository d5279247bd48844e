"""How the general tasks of two runs differ on the documents that both were asked: what was forgotten, what was learnt.

A document is the same in two runs if its leaf task, `doc_id` and both of lm-eval's digests are.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sciriff.data.general_rows import GeneralItem, GeneralTaskSettings
from sciriff.results.difference import Difference, Measured, mean_of
from sciriff.results.general_items import GeneralRun, has_interval, strata_of, task_value
from sciriff.results.seeds import Group, Pooled, mean_of_columns, value_of
from sciriff.results.statistics import flipped_means, holm, interval, resampled_means
from sciriff.run.number_format import count_of
from sciriff.run.visible import visible_line

CHANGED = 0.5
"""A document is lost or won if its value falls or rises by at least this: from 1 to 0 where it is right or wrong."""


@dataclass(frozen=True)
class ItemPair:
    """One document before and after. With several seeds these are the items of the first ones."""

    leaf: str
    before: GeneralItem
    after: GeneralItem


@dataclass(frozen=True)
class GeneralDifference(Difference):
    """One general task in two runs: `baseline` is the value before, `value` the one after. Where a leaf has a single
    document, there is no interval."""

    lost: list[ItemPair]
    """Documents that got worse, by leaf and `doc_id`."""
    won: list[ItemPair]
    """Documents that got better."""


@dataclass(frozen=True)
class GeneralComparison:
    """The general tasks of one run, or set of seeds, against the baseline."""

    tasks: list[GeneralDifference]
    """In the baseline's order; empty where no task can be compared, which `notes` explain."""
    mean: Difference | None
    """Mean of the tasks above; None without two of them."""
    notes: list[str]
    """What is left out, and what else differs between the runs."""


@dataclass(frozen=True)
class GeneralPooled:
    """The general tasks over the seeds of one configuration, on the documents that all were asked."""

    tasks: list[Pooled]
    mean: Pooled | None
    """None without any task."""
    notes: list[str]


@dataclass(frozen=True)
class _Shared:
    """One task on the documents that all runs share."""

    name: str
    weights: dict[str, float]
    """By leaf, of the leaves that share a document."""
    items: list[dict[str, list[GeneralItem]]]
    """For each run: leaf -> its documents, which are the same in all runs and in the same order."""

    @property
    def n(self) -> int:
        return sum(map(len, self.items[0].values()))

    def values(self, run: int) -> dict[str, list[float]]:
        return {leaf: [item.value for item in items] for leaf, items in self.items[run].items()}

    def averaged(self, first: int, last: int) -> dict[str, list[float]]:
        """Values of each leaf's documents, averaged over the runs from `first` to before `last`."""
        runs = [self.values(run) for run in range(first, last)]
        if len(runs) == 1:
            return runs[0]
        return {leaf: np.mean([run[leaf] for run in runs], axis=0).tolist() for leaf in self.weights}

    def scores(self, first: int, last: int) -> list[list[float]]:
        """Value of the task in each of these runs, which have one sample each."""
        return [[task_value(self.weights, self.values(run))] for run in range(first, last)]


def compare_general(before: GeneralRun, after: GeneralRun, resamples: int) -> GeneralComparison:
    """Compare every task that both runs have with one metric, on the documents that both were asked."""
    return compare_general_seeds([before], [after], resamples)


def compare_general_seeds(
    before: Sequence[GeneralRun],
    after: Sequence[GeneralRun],
    resamples: int,
    names: tuple[str, str] = ("before", "after"),
) -> GeneralComparison:
    """Compare the seeds of two configurations as `compare_general` does: values are means over the seeds, and each
    document's value is averaged over them before it is tested. `names` of the two are for notes."""
    sides = [names[0]] * len(before) + [names[1]] * len(after)
    shared, notes = _shared([*before, *after], sides)
    measured = [_measure(task, len(before), resamples) for task in shared]
    adjusted = holm([task.p for task in measured])
    tasks = [
        GeneralDifference(
            **vars(found.difference(p_holm)), lost=_changed(task, len(before), -1), won=_changed(task, len(before), 1)
        )
        for task, found, p_holm in zip(shared, measured, adjusted, strict=True)
    ]
    mean = None
    if len(measured) > 1:
        of_all = mean_of(measured, _mean_name(len(measured), [*before, *after]))
        mean = replace(of_all, smallest=min(task.smallest for task in measured)).difference(None)
    return GeneralComparison(tasks, mean, notes)


def pooled_general(group: Group, resamples: int = 0) -> GeneralPooled | None:
    """Pool every task of a run, or of the seeds of one configuration, on the documents that all were asked; None where
    some run has no general tasks. With `resamples` they have intervals, as in `seeds.pooled`."""
    runs = [run.general for run in group.runs if run.general is not None]
    if len(runs) < len(group.runs):
        return None
    shared, notes = _shared(runs, [run.name for run in group.runs])
    tasks, scores, drawn = [], [], []
    for task in shared:
        scores.append(task.scores(0, len(runs)))
        strata = strata_of(task.weights, task.averaged(0, len(runs)))
        limits = None
        if resamples and has_interval(strata):
            drawn.append(resampled_means(strata, resamples, task.name))
            limits = interval(drawn[-1])
        tasks.append(Pooled(task.name, task.n, value_of(scores[-1]), limits))
    if not tasks:
        return GeneralPooled([], None, notes)
    limits = interval(np.mean(drawn, axis=0)) if len(drawn) == len(tasks) else None
    n = sum(task.n for task in tasks)
    mean = Pooled(_mean_name(len(tasks), runs), n, value_of(mean_of_columns(scores)), limits)
    return GeneralPooled(tasks, mean, notes)


def _mean_name(tasks: int, runs: Sequence[GeneralRun]) -> str:
    """Name of the mean of this many tasks of some runs: `mean of 4 of 5`."""
    return f"mean of {count_of([tasks], len({name for run in runs for name in run.settings.tasks}))}"


def _measure(task: _Shared, baselines: int, resamples: int) -> Measured:
    """Measure a task whose first `baselines` runs are the baseline's."""
    runs = len(task.items)
    ours, theirs = task.averaged(0, baselines), task.averaged(baselines, runs)
    differences = {leaf: np.subtract(theirs[leaf], ours[leaf]).tolist() for leaf in task.weights}
    strata = strata_of(task.weights, differences)
    observed = task_value(task.weights, differences)
    permuted, exact = flipped_means(strata, resamples, task.name)
    enough = has_interval(strata)
    return Measured(
        name=task.name,
        task=task.name,
        n=task.n,
        values=(task.scores(0, baselines), task.scores(baselines, runs)),
        resampled=resampled_means(strata, resamples, task.name) if enough else np.full(resamples, observed),
        observed=observed,
        permuted=permuted,
        exact=exact,
        differ=any(map(any, differences.values())),
        smallest=min(len(stratum.values) for stratum in strata),
    )


def _changed(task: _Shared, baselines: int, sign: int) -> list[ItemPair]:
    """The documents that were lost (`sign` -1) or won (1)."""
    ours, theirs = task.averaged(0, baselines), task.averaged(baselines, len(task.items))
    return [
        ItemPair(leaf, before, after)
        for leaf in sorted(task.weights)
        for before, after, value, other in zip(
            task.items[0][leaf], task.items[baselines][leaf], ours[leaf], theirs[leaf], strict=True
        )
        if sign * (other - value) >= CHANGED
    ]


def _shared(runs: Sequence[GeneralRun], names: Sequence[str]) -> tuple[list[_Shared], list[str]]:
    """The tasks that all runs have, on the documents that all share, and notes on the others. `names` of the runs."""
    notes = _protocol_notes(runs)
    found = []
    for name in dict.fromkeys(name for run in runs for name in run.settings.tasks):
        tasks = [run.settings.tasks.get(name) for run in runs]
        having = [task for task in tasks if task is not None]
        if len(having) < len(runs):
            notes.append(f"{name}: not in {names[tasks.index(None)]}")
        elif len({task.metric for task in having}) > 1:
            notes.append(f"{name}: scored by {_listed(task.metric for task in having)}, which cannot be compared")
        elif (task := _shared_task(name, runs, having, notes)) is not None:
            found.append(task)
    return found, [visible_line(note) for note in notes]


def _protocol_notes(runs: Sequence[GeneralRun]) -> list[str]:
    """What differs in how the runs were asked and scored, beside the tasks' own settings."""
    about: tuple[tuple[str, Callable[[GeneralRun], object]], ...] = (
        ("protocol", lambda run: run.settings.name),
        ("version of lm-eval", lambda run: run.settings.lm_eval),
        ("markup of the model", lambda run: run.settings.chat),
        ("general.turns", lambda run: run.settings.turns),
        ("general.seed", lambda run: run.settings.seed),
    )
    found = [(what, [value(run) for run in runs]) for what, value in about]
    return [f"{what}: {_listed(values)}" for what, values in found if len(set(values)) > 1]


def _shared_task(
    name: str, runs: Sequence[GeneralRun], tasks: Sequence[GeneralTaskSettings], notes: list[str]
) -> _Shared | None:
    """The documents of one task that all runs share; None, with a note, if there are none."""
    first = tasks[0].leaves
    leaves = [leaf for leaf in first if all(leaf in task.leaves for task in tasks)]
    items: list[dict[str, list[GeneralItem]]] = [{} for _ in runs]
    others = 0
    for leaf in leaves:
        tables = [{item.doc_id: item for item in run.items[leaf]} for run in runs]
        common = [doc_id for doc_id in tables[0] if all(doc_id in table for table in tables)]
        same = [doc_id for doc_id in common if len({_hashes(table[doc_id]) for table in tables}) == 1]
        others += len(common) - len(same)
        if same:
            for of_run, table in zip(items, tables, strict=True):
                of_run[leaf] = [table[doc_id] for doc_id in same]
    if others:
        notes.append(f"{name}: {others} documents are others in these runs by question or target, and left out")
    n = sum(map(len, items[0].values()))
    if not n:
        notes.append(f"{name}: no document is shared")
        return None
    counts = sorted({sum(leaf.items for leaf in task.leaves.values()) for task in tasks})
    if n < counts[-1]:
        notes.append(f"{name}: only {n} documents are shared, of {' and '.join(map(str, counts))}")
    weights = {leaf: first[leaf].weight for leaf in items[0]}
    sizes = sorted({len(task.leaves) for task in tasks})
    if len(weights) < sizes[-1]:
        notes.append(f"{name}: only {len(weights)} of {' and '.join(map(str, sizes))} leaf tasks are shared")
    _leaf_notes(name, list(weights), tasks, notes)
    return _Shared(name, weights, items)


def _leaf_notes(name: str, leaves: Sequence[str], tasks: Sequence[GeneralTaskSettings], notes: list[str]) -> None:
    """Add what differs in the settings of the leaves."""
    for what, values in (
        ("examples before each question", [[task.leaves[leaf].shots for leaf in leaves] for task in tasks]),
        ("versions of the task", [[task.leaves[leaf].version for leaf in leaves] for task in tasks]),
    ):
        if any(of_run != values[0] for of_run in values):
            notes.append(f"{name}: {what}: {_listed(_listed(of_run, ', ') for of_run in values)}")
    weights = [[task.leaves[leaf].weight for leaf in leaves] for task in tasks]
    shares = [[weight / sum(of_run) for weight in of_run] for of_run in weights]
    if any(of_run != shares[0] for of_run in shares):
        notes.append(f"{name}: the leaf tasks have other weights in these runs; those of the first are used")


def _hashes(item: GeneralItem) -> tuple[str, str]:
    return item.doc_hash, item.target_hash


def _listed(values: Iterable[object], between: str = " and ") -> str:
    """Each value once, in order."""
    return between.join(dict.fromkeys(map(str, values)))
