"""Scores of single answers from numbers that somebody else may have written."""

import random
from statistics import fmean

from sciriff.results.answer_scores import decided_scores, own_scores
from sciriff.tasks import HELD_OUT

ODD = (0, 1, -1, 2**53, -(2**53), 0.5, -0.5, 1.7e308, -1.7e308, 5e-324)


def test_scores_of_any_numbers_are_scores() -> None:
    chance, found = random.Random(0), 0
    for task in HELD_OUT:
        for _ in range(200):
            vector = [chance.choice(ODD) for _ in task.fields]
            scores = decided_scores(task, vector)
            assert all(0 <= value <= 1.001 for value in scores.values()), (task.name, vector)
            assert not own_scores(task, vector) or fmean(own_scores(task, vector).values()) < 1.001
            found += len(scores)
    assert found > 100


def test_scores_that_are_no_columns_are_decided_too() -> None:
    [task] = [task for task in HELD_OUT if task.name == "evidence_inference"]
    right = '[["drug", "placebo", "pain", "lower", "Pain fell."]]'
    vector = task.vector(task.score(right, right))
    assert decided_scores(task, vector) == {"f1_exact": 1, "f1_substring": 1, "f1_overlap": 1}
    assert own_scores(task, vector) == {"f1_overlap": 1}
