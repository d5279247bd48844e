"""The columns of the summary as functions of resampled instances, for one run or for several on the same instances."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from sciriff.results.statistics import Array, resampled_sums
from sciriff.tasks.task import Task

LEAST = 2
"""Fewer instances than this give no interval."""


@dataclass(frozen=True)
class TaskColumns:
    """Columns of one task that are made of the same instances, in one run or in several."""

    task: Task
    columns: tuple[str, ...]
    rows: tuple[Array, ...]
    """For each run [samples, n, k]: the vectors of the instances, in the same order in every run. The first number is 1
    without samples; a missing sample of an instance is a row of zeros."""

    @property
    def n(self) -> int:
        return self.rows[0].shape[1]

    def scores(self, sums: Array) -> dict[str, Array]:
        """Columns, [...], computed from sums of vectors, [..., k]."""
        scores = self.task.scores_of_sums(np.moveaxis(sums, -1, 0))  # type: ignore[arg-type]
        return {column: np.asarray(scores[self.task.flat_names[column]]) for column in self.columns}

    def values(self, run: int) -> list[dict[str, float]]:
        """Columns of one run as they are, for each of its samples."""
        return [
            {column: float(value) for column, value in self.scores(matrix.sum(axis=0)).items()}
            for matrix in self.rows[run]
        ]

    def resampled(self, resamples: int) -> list[dict[str, Array]]:
        """For each run its columns, [resamples], in the same bootstrap samples of instances. An instance is drawn with
        all its answers, and columns are means over these."""
        matrices = [matrix for rows in self.rows for matrix in rows]
        sums = resampled_sums(np.hstack(matrices), resamples, self.task.name)
        every = iter(self.scores(part) for part in np.split(sums, len(matrices), axis=1))
        by_run = [list(islice(every, len(rows))) for rows in self.rows]
        return [
            {column: np.asarray(np.mean([sample[column] for sample in samples], axis=0)) for column in self.columns}
            for samples in by_run
        ]


def parts(task: Task, rows: Sequence[Array]) -> list[TaskColumns]:
    """Pair the columns of a task with the instances that they are made of: judged columns with those rated in every run
    (some judges rate a fixed choice), in at least one sample; the others with all. Columns without an instance are left
    out. `rows` as in TaskColumns.
    """
    rated = np.logical_and.reduce([(run[:, :, task.fields.index("rated")] > 0).any(axis=0) for run in rows])
    others = tuple(column for column in task.columns if column not in task.judged_columns)
    found = (
        TaskColumns(task, others, tuple(rows)),
        TaskColumns(task, task.judged_columns, tuple(run[:, rated] for run in rows)),
    )
    return [part for part in found if part.columns and part.n]
