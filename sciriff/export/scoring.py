"""Score answers for another harness: its files call this. Counts are kept for each answer, scores are those of sums."""

from collections.abc import Iterable, Sequence

from sciriff.tasks import HELD_OUT
from sciriff.tasks.own import own_task
from sciriff.tasks.task import Task


class Scoring:
    """One of the nine held-out tasks, or one of one's own with its metric."""

    def __init__(self, name: str, metric: str | None = None) -> None:
        self.task = next(task for task in HELD_OUT if task.name == name) if metric is None else own_task(name, metric)

    def counts(self, answer: str, reference: str) -> list[float]:
        """Counts of one answer that can be added up. ValueError if the reference cannot be parsed."""
        return list(self.task.vector(self.task.score(answer, reference)))

    def score(self, column: str, counts: Iterable[Sequence[float]]) -> float:
        """A column's value (0-1) over all answers: the score of their sums, which is no mean of scores."""
        sums = tuple(map(sum, zip(*counts, strict=True)))
        return float(self.task.scores_of_sums(sums)[self.task.summary[column]])


def columns_without_judge(task: Task) -> tuple[str, ...]:
    """The task's columns of the summary table that need no judge, by their short names."""
    judged = task.judged_columns
    return tuple(name for name in task.headline if f"{task.name}/{name}" not in judged)
