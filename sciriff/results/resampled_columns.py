"""The columns of the summary as functions of resampled instances, for one run or for several on the same instances."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from sciriff.results.statistics import Array, resampled_sums
from sciriff.tasks.task import Task

LEAST = 2
"""Instances below which nothing can be said about what others would have given."""


@dataclass(frozen=True)
class TaskColumns:
    """Columns of one task that are made of the same instances, in one run or in several."""

    task: Task
    columns: tuple[str, ...]
    rows: tuple[Array, ...]
    """Of each run [samples, n, k]: the vectors of the instances, in the same order in every run. Without samples the
    first number is 1; a sample of an instance that is missing is 0."""

    @property
    def n(self) -> int:
        return self.rows[0].shape[1]

    def scores(self, sums: Array) -> dict[str, Array]:
        """The columns, [...], of sums of vectors, [..., k]."""
        scores = self.task.column_scores(np.moveaxis(sums, -1, 0))  # type: ignore[arg-type]
        return {column: np.asarray(scores[column]) for column in self.columns}

    def values(self, run: int) -> list[dict[str, float]]:
        """The columns of one run as they are, of each of its samples."""
        every = [self.scores(matrix.sum(axis=0)) for matrix in self.rows[run]]
        return [{column: float(value) for column, value in scores.items()} for scores in every]

    def resampled(self, resamples: int) -> list[dict[str, Array]]:
        """Of each run the columns of the same bootstrap samples of instances, [resamples]: the means over its samples
        of the answers, all of which an instance brings with it."""
        matrices = [matrix for rows in self.rows for matrix in rows]
        sums = resampled_sums(np.hstack(matrices), resamples, self.task.name)
        every = iter(self.scores(part) for part in np.split(sums, len(matrices), axis=1))
        return [_mean(list(islice(every, len(rows)))) for rows in self.rows]


def _mean(samples: Sequence[dict[str, Array]]) -> dict[str, Array]:
    return {column: np.asarray(np.mean([one[column] for one in samples], axis=0)) for column in samples[0]}


def parts(task: Task, rows: Sequence[Array]) -> list[TaskColumns]:
    """The columns of a task with the instances that they are made of: a judge's with those that it rated in every run
    (it rates a fixed choice of some tasks), some sample at least, the others with all. Columns without any instance are
    left out.

    `rows` is of each run [samples, n, k], of the same instances in the same order.
    """
    rated = np.logical_and.reduce([(run[:, :, task.fields.index("rated")] > 0).any(axis=0) for run in rows])
    others = tuple(column for column in task.columns if column not in task.judged_columns)
    found = (
        TaskColumns(task, others, tuple(rows)),
        TaskColumns(task, task.judged_columns, tuple(run[:, rated] for run in rows)),
    )
    return [part for part in found if part.columns and part.n]
