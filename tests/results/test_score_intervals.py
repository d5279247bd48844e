"""Intervals cover what they say, have a width where all is right, and are the same whatever order the answers have."""

import numpy as np
import pytest

from sciriff.results.linear_scores import LinearScore, averaged, linear_scores
from sciriff.results.score_intervals import (
    Term,
    combined_interval,
    combined_limits,
    correlation,
    detectable,
    few_carry,
    interval,
    limits,
    note,
    student_quantile,
    variance,
)
from sciriff.results.scores import NOTES
from sciriff.results.shared_documents import TOO_FEW
from sciriff.tasks.biored import BIORED
from sciriff.tasks.discomat import DISCOMAT
from sciriff.tasks.task import Task

Array = np.ndarray


def micro_f1(sums: Array) -> dict[str, Array]:
    return {"f1": 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1e-9)}


def mean(sums: Array) -> dict[str, Array]:
    return {"mean": sums[..., 0] / sums[..., 1]}


def of_values(*values: float) -> LinearScore:
    return linear_scores(mean, np.column_stack([values, np.ones(len(values))]))["mean"]


def abstracts(random: np.random.Generator, sets: int, n: int, skill: float = 0.5, more: float = 1.5) -> Array:
    """Counts (correct, predicted, expected) of entities in made-up abstracts, some of them harder than others."""
    expected = 1 + random.poisson(4, (sets, n))
    correct = random.binomial(expected, random.beta(4 * skill, 4 * (1 - skill), (sets, n)))
    return np.stack([correct, correct + random.poisson(more, (sets, n)), expected], axis=-1).astype(float)


@pytest.mark.parametrize(("n", "skill", "more"), [(50, 0.5, 1.5), (50, 0.95, 0.2), (10, 0.5, 1.5), (50, 0.03, 1.5)])
def test_intervals_cover_the_true_f1_as_often_as_they_say(n: int, skill: float, more: float):
    random = np.random.default_rng(1)
    true = micro_f1(abstracts(random, 1, 1_000_000, skill, more).sum(axis=-2))["f1"][0]
    low, high = limits(linear_scores(micro_f1, abstracts(random, 2000, n, skill, more))["f1"])
    assert 0.935 <= np.mean((low <= true) & (true <= high)) <= 0.99


def test_intervals_of_paired_differences_cover_the_true_one():
    random = np.random.default_rng(2)
    ours, theirs = abstracts(random, 2000, 50, 0.4, 0.5), abstracts(random, 2000, 50, 0.7, 3)
    theirs[..., 2] = ours[..., 2]  # the same references
    theirs[..., 0] = np.minimum(theirs[..., 0], theirs[..., 2])
    scores = [linear_scores(micro_f1, rows)["f1"] for rows in (ours, theirs)]
    true = np.mean(scores[1].value - scores[0].value)
    low, high = combined_limits([Term(-1, scores[0], "a"), Term(1, scores[1], "a")])
    assert 0.93 <= np.mean((low <= true) & (true <= high)) <= 0.97


def test_a_share_of_right_answers_has_wilsons_interval():
    """Of the textbook's: 15 of 20, with the t quantile of 19 degrees of freedom and the variance of n - 1."""
    low, high = interval(of_values(*[1.0] * 15, *[0.0] * 5))  # type: ignore[misc]
    t, n, p = 2.0930, 19, 0.75
    middle, half = (p + t**2 / (2 * n)) / (1 + t**2 / n), t / (1 + t**2 / n) * (p * 0.25 / n + t**2 / (4 * n**2)) ** 0.5
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.005)


def test_all_or_none_right_is_no_certainty():
    for n in (2, 10, 100):
        t = float(student_quantile(0.975, np.array(n - 1.0)))
        assert interval(of_values(*[1.0] * n)) == pytest.approx((n / (n + t**2), 1))
        assert interval(of_values(*[0.0] * n)) == pytest.approx((0, t**2 / (n + t**2)))
    low, high = interval(of_values(*[0.5] * 30))  # type: ignore[misc]
    assert low < 0.4 and high > 0.6, "ratings that are all the same"


def test_one_unit_has_no_interval():
    alone, more = of_values(0.5), of_values(0.5, 0.7)
    assert interval(alone) is None
    assert combined_interval([Term(0.5, alone, "a"), Term(0.5, more, "b")]) is None
    rows = np.array([[1.0, 1], [0, 0], [0, 0]])
    assert interval(linear_scores(mean, rows)["mean"]) is None, "units that were not rated are none"


def test_the_variance_is_that_of_the_mean():
    values = np.random.default_rng(3).random(40)
    assert float(variance(of_values(*values))) == pytest.approx(values.var(ddof=1) / 40)


@pytest.mark.parametrize("task", [BIORED, DISCOMAT], ids=lambda task: task.name)
def test_deviations_are_what_a_score_loses_without_a_unit(task: Task):
    rows = np.random.default_rng(4).integers(5, 60, (200, len(task.fields))).astype(float)
    rows[:, 1] += rows[:, 0]
    rows[:, 2] += rows[:, 0]
    rows[:, task.fields.index("reference_length")] *= 2

    def scores(sums: Array) -> dict[str, Array]:
        found = task.scores_of_sums(np.moveaxis(sums, -1, 0))  # type: ignore[arg-type]
        return {column: np.asarray(found[task.flat_names[column]]) for column in task.columns}

    for column, score in linear_scores(scores, rows).items():
        without = scores(rows.sum(axis=0) - rows)[column]
        assert score.deviations == pytest.approx(score.value - without, rel=0.05, abs=1e-4)
        assert float(score.influence.sum()) == pytest.approx(0, abs=1e-8)
        assert float(score.share.sum()) == pytest.approx(1)


def test_samples_are_averaged():
    one, other = of_values(1, 0, 1, 0), of_values(1, 1, 0, 0)
    both = averaged([one, other])
    assert both.influence == pytest.approx(of_values(1, 0.5, 0.5, 0).influence)
    assert interval(both) == interval(of_values(1, 0.5, 0.5, 0))


def test_a_difference_of_the_same_answers_has_no_width():
    for values in ([1, 0, 1, 0.5], [1, 1, 1, 1]):
        one, copy = of_values(*values), of_values(*values)
        assert correlation(one, copy) == 1
        assert combined_interval([Term(-1, one, "a"), Term(1, copy, "a")]) == (0, 0)


def test_a_mean_is_surer_than_its_columns_unless_these_move_together():
    random = np.random.default_rng(5)
    one, other = (of_values(*random.random(50)) for _ in range(2))
    widths = []
    for second, task in ((one, "a"), (other, "b")):
        low, high = combined_interval([Term(0.5, one, "a"), Term(0.5, second, task)])  # type: ignore[misc]
        widths.append(high - low)
    low, high = interval(one)  # type: ignore[misc]
    assert widths[0] == pytest.approx(high - low)
    assert widths[1] == pytest.approx((high - low) / 2**0.5, rel=0.1)


def test_a_detectable_difference_is_found_four_times_of_five():
    random = np.random.default_rng(6)
    rows = [np.stack([random.normal(0.5 + by, 0.1, (4000, 20)), np.ones((4000, 20))], axis=-1) for by in (0, 0.094)]
    ours, theirs = (linear_scores(mean, run)["mean"] for run in rows)
    terms = [Term(-1, ours, "a"), Term(1, theirs, "a")]
    called = detectable(terms)
    assert np.mean(called) == pytest.approx(0.094, abs=0.002)
    error = np.sqrt(np.sum((theirs.influence - ours.influence) ** 2, axis=-1) * 20 / 19)
    found = np.abs(theirs.value - ours.value) / error > 2.093
    assert np.mean(found) == pytest.approx(0.8, abs=0.025)


def test_few_answers_that_decide_are_said():
    rare, usual = of_values(*[0.0] * 48, 1, 0.7), of_values(*np.linspace(0, 1, 50))
    assert few_carry(rare) and "fewer than 5 answers" in note(rare)
    assert not few_carry(usual) and not note(usual)
    assert not note(of_values(*[1.0] * 50)), "a score of 1 has an interval of its own"
    assert NOTES not in note(rare) and NOTES not in TOO_FEW, "which stands between the two"


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.3027), (5, 2.5706), (49, 2.0096), (1e6, 1.96)])
def test_quantiles_of_student(freedom: float, quantile: float):
    assert float(student_quantile(0.975, np.array(freedom))) == pytest.approx(quantile, rel=1e-4)


def test_a_mean_of_columns_of_one_task_stays_between_0_and_1():
    """Their sides are of unequal length, which square-and-add alone would let reach below 0 or above 1."""
    random = np.random.default_rng(5)
    for _ in range(300):
        rows = (random.random((random.integers(2, 12), 1)) < random.choice([0.1, 0.5, 0.9])).astype(float)
        columns = [of_values(*np.abs(rows[:, 0] - (random.random(len(rows)) < 0.1))) for _ in range(3)]
        low, high = combined_limits([Term(1 / 3, score, "task") for score in columns])
        assert 0 <= low <= high <= 1 + 1e-12
        low, high = combined_limits([Term(-1, columns[0], "task"), Term(1, columns[1], "task")])
        assert -1 - 1e-12 <= low <= high <= 1 + 1e-12
