"""The scores of one answer, from its numbers: those that its numbers decide."""

from collections.abc import Sequence

from sciriff.tasks.task import Task

ROUNDING = 1e-9
"""Rounding error by which a score may exceed 1."""


def decided_scores(task: Task, vector: Sequence[float]) -> dict[str, float]:
    """The scores of one answer in [0, 1] by short name.

    Undecided scores are left out: an F1 with nothing expected and nothing given, a rating that no judge gave. The
    formulas make these 0. They are known by becoming 1 with one right item more, which no other 0 does. So are numbers
    that no answer has: somebody else may have written the file, and negative counts make complex scores.
    """
    scores = task.scores_of_sums(vector)
    one_more = task.scores_of_sums([number + 1 for number in vector])
    return {
        short: scores[flat]
        for short, flat in task.summary.items()
        if flat in scores and _is_score(scores[flat]) and (scores[flat] != 0 or one_more[flat] != 1)
    }


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1 + ROUNDING


def own_scores(task: Task, vector: Sequence[float]) -> dict[str, float]:
    """The decided scores of one answer: those of the summary's columns, else the others."""
    decided = decided_scores(task, vector)
    return {short: decided[short] for short in task.headline if short in decided} or decided
