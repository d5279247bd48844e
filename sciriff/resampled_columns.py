"""The columns of the summary as functions of resampled instances, for one run or for several on the same instances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sciriff.statistics import Array, resampled_sums
from sciriff.tasks.task import Task

LEAST = 2
"""Instances below which nothing can be said about what others would have given."""


@dataclass(frozen=True)
class Part:
    """Columns of one task that are made of the same instances, in one run or in several."""

    task: Task
    columns: tuple[str, ...]
    rows: tuple[Array, ...]
    """Of each run [n, k]: the vectors of the instances, in the same order in every run."""

    @property
    def n(self) -> int:
        return len(self.rows[0])

    def scores(self, sums: Array) -> dict[str, Array]:
        """The columns, [...], of sums of vectors, [..., k]."""
        scores = self.task.column_scores(np.moveaxis(sums, -1, 0))  # type: ignore[arg-type]
        return {column: np.asarray(scores[column]) for column in self.columns}

    def values(self, run: int) -> dict[str, float]:
        """The columns of one run as they are."""
        return {column: float(value) for column, value in self.scores(self.rows[run].sum(axis=0)).items()}

    def resampled(self, resamples: int) -> list[dict[str, Array]]:
        """Of each run the columns of the same bootstrap samples, [resamples]."""
        sums = resampled_sums(np.hstack(self.rows), resamples, self.task.name)
        return [self.scores(part) for part in np.split(sums, len(self.rows), axis=1)]


def parts(task: Task, rows: Sequence[Array]) -> list[Part]:
    """The columns of a task with the instances that they are made of: a judge's with those that it rated in every run
    (it rates a fixed sample of some tasks), the others with all. Columns without any instance are left out.

    `rows` is a matrix for each run, [n, k], of the same instances in the same order.
    """
    rated = np.logical_and.reduce([matrix[:, task.fields.index("rated")] > 0 for matrix in rows])
    others = tuple(column for column in task.columns if column not in task.judged_columns)
    found = (
        Part(task, others, tuple(rows)),
        Part(task, task.judged_columns, tuple(matrix[rated] for matrix in rows)),
    )
    return [part for part in found if part.columns and part.n]
