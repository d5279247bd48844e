"""The columns of the summary as functions of sums over units, for one run or for several on the same instances."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sciriff.data.records import AnswerKey
from sciriff.results.linear_scores import LinearScore, averaged, linear_scores
from sciriff.results.shared_documents import FEWEST_DOCUMENTS
from sciriff.results.statistics import Array
from sciriff.tasks.metrics.judge_rating import JudgeCounts
from sciriff.tasks.task import Task

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TaskColumns:
    """Columns of one task on the same instances, in one run or in several.

    Other units would give other scores: a unit is an instance, or all instances about one document. All columns have
    the same units, so that it is known how they vary together. A judged column is made of the rated instances among
    them; the other instances add zeros to it.
    """

    task: Task
    columns: tuple[str, ...]
    rows: tuple[Array, ...]
    """For each run [samples, n, k]: the vectors of the instances, in the same order in every run. The first number is 1
    without samples; a missing sample of an instance is a row of zeros."""
    places: Places | None = None
    """Place of each instance's document among the documents, [n]; None if each instance has its own."""

    @property
    def n(self) -> int:
        return self.rows[0].shape[1]

    @property
    def documents(self) -> int:
        """Number of documents."""
        return self.n if self.places is None else int(self.places.max()) + 1

    @property
    def by_document(self) -> bool:
        """Whether documents are drawn, and not instances."""
        return FEWEST_DOCUMENTS <= self.documents < self.n

    def in_units(self, matrix: Array) -> Array:
        """Vectors of the units, [units, k], which add up those of their instances, [n, k]."""
        if self.places is None or not self.by_document:
            return matrix
        units = np.zeros((self.documents, matrix.shape[1]))
        np.add.at(units, self.places, matrix)
        return units

    def used(self, column: str) -> npt.NDArray[np.bool_]:
        """Whether a column is made of an instance, [n]: a judged one only of those that are rated."""
        if column not in self.task.judged_columns:
            return np.ones(self.n, dtype=bool)
        return _rated(self.task, self.rows)

    def n_of(self, column: str) -> int:
        """Number of instances that a column is made of."""
        return int(self.used(column).sum())

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

    def linear(self) -> list[dict[str, LinearScore]]:
        """For each run its columns, means over its samples, with each unit's part in them."""
        samples = [[linear_scores(self.scores, self.in_units(matrix)) for matrix in rows] for rows in self.rows]
        return [{name: averaged([sample[name] for sample in run]) for name in self.columns} for run in samples]


def vectors(task: Task, answers: Mapping[AnswerKey, Sequence[float]], instances: Sequence[str]) -> Array:
    """Task.vector of each answer as an array [samples, n, k], for `instances` in their order; zeros where one of these
    lacks a sample."""
    lacking = (0.0,) * len(task.fields)
    samples = sorted({sample for _, sample in answers})
    return np.array([[answers.get((i, sample), lacking) for i in instances] for sample in samples], dtype=float)


def parts(task: Task, rows: Sequence[Array], documents: Sequence[Hashable] | None = None) -> list[TaskColumns]:
    """Find the columns of a task that its instances give: one element, or none. `rows` as in TaskColumns; `documents`
    are names of the instances' documents, None where unknown.

    A judged column is made of the instances rated in every run (some judges rate a fixed choice), in at least one
    sample: ratings of others are set to zero. Where all columns are judged, the other instances are left out.
    """
    rated = _rated(task, rows)
    columns = tuple(column for column in task.columns if rated.any() or column not in task.judged_columns)
    if not columns or not len(rated):
        return []
    if set(columns) <= set(task.judged_columns):
        kept = [document for document, used in zip(documents, rated, strict=True) if used] if documents else []
        return [TaskColumns(task, columns, tuple(run[:, rated] for run in rows), _places(kept))]
    kept_fields = np.ones((len(rated), len(task.fields)))
    kept_fields[:, [task.fields.index(name) for name in JudgeCounts._fields]] = rated[:, None]
    return [TaskColumns(task, columns, tuple(run * kept_fields for run in rows), _places(documents or []))]


def _places(documents: Sequence[Hashable]) -> Places | None:
    """Place of each instance's document; an unknown one is the instance's own. None if no document has two."""
    order: dict[Hashable, int] = {}
    for place, document in enumerate(documents):
        order.setdefault((place,) if document is None else document, len(order))
    if len(order) == len(documents):
        return None
    return np.array([order[(place,) if name is None else name] for place, name in enumerate(documents)])


def _rated(task: Task, rows: Sequence[Array]) -> npt.NDArray[np.bool_]:
    """Whether an instance is rated in every run, in at least one sample, [n]."""
    rated = task.fields.index("rated")
    return np.asarray(np.logical_and.reduce([(run[:, :, rated] > 0).any(axis=0) for run in rows]))
