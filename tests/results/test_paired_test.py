"""The paired test finds a difference between equal scores as often as it says, and all of a few."""

from math import comb

import numpy as np
import pytest

from sciriff.results.linear_scores import linear_scores
from sciriff.results.paired_test import Parts, difference_parts, sign_flip_test
from sciriff.results.statistics import p_value

Array = np.ndarray


def micro_f1(sums: Array) -> dict[str, Array]:
    return {"f1": 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1e-9)}


def parts_of(ours: Array, theirs: Array) -> Array:
    scores = [linear_scores(micro_f1, rows)["f1"] for rows in (ours, theirs)]
    return difference_parts(*scores, np.any(ours != theirs, axis=-1))


def two_models(random: np.random.Generator, sets: int, n: int) -> tuple[Array, Array]:
    """Lists of very uneven length, of one model with a precision of 71 % and a recall of 50 %, of another with 45 and
    83 %: the same F1."""
    expected = 1 + random.poisson(random.gamma(0.5, 7, (sets, n)))
    found = []
    for recall, wrong in ((0.5, 0.204), (0.83, 0.999)):
        correct = random.binomial(expected, random.beta(recall, 1 - recall, (sets, n)))
        predicted = correct + random.poisson(wrong * expected * random.gamma(2, 0.5, (sets, n)))
        found.append(np.stack([correct, predicted, expected], axis=-1).astype(float))
    return found[0], found[1]


def test_equal_scores_of_other_precision_and_recall_are_no_difference():
    random = np.random.default_rng(1)
    ours, theirs = two_models(random, 3000, 50)
    parts = parts_of(ours, theirs)
    found = [sign_flip_test([Parts(str(number), added, 50)], 500)[0] < 0.05 for number, added in enumerate(parts)]
    assert 0.035 <= np.mean(found) <= 0.063
    swaps = random.integers(2, size=(50, 500))
    moved = np.stack([(theirs - ours)[..., k] @ swaps for k in range(3)], axis=-1)
    sums = [rows.sum(axis=1)[:, None] for rows in (ours, theirs)]
    exchanged = micro_f1(sums[1] - moved)["f1"] - micro_f1(sums[0] + moved)["f1"]
    found = [p_value(one, others, every=False) < 0.05 for one, others in zip(parts.sum(axis=1), exchanged, strict=True)]
    assert np.mean(found) > 0.065, "as exchanging the answers would find it"


def test_parts_add_up_to_the_difference():
    ours, theirs = two_models(np.random.default_rng(2), 20, 50)
    theirs[:, :10] = ours[:, :10]
    parts = parts_of(ours, theirs)
    difference = micro_f1(theirs.sum(axis=1))["f1"] - micro_f1(ours.sum(axis=1))["f1"]
    assert parts.sum(axis=1) == pytest.approx(difference)
    assert (parts[:, :10] == 0).all(), "units with the same numbers add nothing"
    assert parts_of(theirs, ours) == pytest.approx(-parts)


def test_parts_of_a_mean_are_its_differences():
    random = np.random.default_rng(3)
    values = random.random((2, 8))
    rows = [np.column_stack([one, np.ones(8)]) for one in values]
    scores = [linear_scores(lambda sums: {"mean": sums[..., 0] / sums[..., 1]}, run)["mean"] for run in rows]
    assert difference_parts(*scores, np.ones(8, dtype=bool)) == pytest.approx((values[1] - values[0]) / 8)


def test_few_units_are_tested_with_all_signs():
    assert sign_flip_test([Parts("a", np.array([0.1, 0, 0.1, 0.1, 0]), 5)], 100) == (2 / 8, True)
    assert sign_flip_test([Parts("a", np.array([0.1, -0.1]), 2)], 100) == (1, True)
    assert sign_flip_test([Parts("a", np.zeros(5), 5), Parts("b", np.zeros(3), 3)], 100) == (1, True)
    assert sign_flip_test([], 100) == (1, True)


def test_many_units_are_tested_with_random_signs():
    added = np.abs(np.random.default_rng(4).normal(1, 0.3, 40))
    p, every = sign_flip_test([Parts("a", added, 40)], 999)
    assert (p, every) == (1 / 1000, False)
    assert sign_flip_test([Parts("a", added, 40)], 999) == sign_flip_test([Parts("a", -added, 40)], 999)


def test_tasks_that_differ_in_opposite_directions_add_no_noise_to_their_mean():
    """One task better and one worse by as much: the variance of each is that around its own difference."""
    random = np.random.default_rng(5)
    found = []
    for _ in range(300):
        tasks = [Parts(name, (by + random.normal(0, 1, 40)) / 40, 40) for name, by in (("a", 1.5), ("b", -1.5))]
        found.append(sign_flip_test(tasks, 400)[0] < 0.05)
    assert 0.02 <= np.mean(found) <= 0.085


@pytest.mark.parametrize("which", [0, 1])
def test_a_score_of_0_or_1_beside_another(which: int):
    ours = np.tile([0.0, 2, 2], (12, 1)) if which == 0 else np.tile([2.0, 2, 2], (12, 1))
    theirs = ours.copy()
    theirs[:6, 0] = 1
    p, every = sign_flip_test([Parts("a", parts_of(ours, theirs), 12)], 10_000)
    assert (p, every) == (2 / 64, True)


def p_of_values(ours: Array, theirs: Array) -> tuple[float, bool]:
    """The test of two runs whose score is the mean of a value of each answer."""
    rows = [np.column_stack([values, np.ones(len(values))]) for values in (ours, theirs)]
    scores = [linear_scores(lambda sums: {"mean": sums[..., 0] / sums[..., 1]}, run)["mean"] for run in rows]
    return sign_flip_test([Parts("a", difference_parts(*scores, ours != theirs), len(ours))], 10_000)


def right_or_wrong(n: int, right: int, lost: int, won: int) -> tuple[Array, Array]:
    """Answers of two runs that differ on `lost` and `won`; both are right on about `right` of the others."""
    same = (np.arange(n - lost - won) < right).astype(float)
    return np.r_[np.ones(lost), np.zeros(won), same], np.r_[np.zeros(lost), np.ones(won), same]


@pytest.mark.parametrize(("n", "right"), [(13, 0), (50, 25), (100, 80), (107, 3), (2447, 1500)])
def test_of_right_and_wrong_answers_it_is_mcnemars_exact_test(n: int, right: int):
    for differ in range(14):
        for lost in range(differ + 1):
            p, every = p_of_values(*right_or_wrong(n, right, lost, differ - lost))
            tail = sum(comb(differ, k) for k in range(min(lost, differ - lost) + 1)) / 2**differ
            assert (p, every) == (pytest.approx(min(1, 2 * tail), abs=1e-12), True), (lost, differ - lost)


@pytest.mark.parametrize("n", [12, 100, 107])
def test_of_ratings_it_is_the_exact_test_of_their_differences(n: int):
    """Whole numbers of quarters have no rounding: equal sums are equal."""
    random = np.random.default_rng(n)
    for differ in (3, 6, 9, 12):
        signs = 1 - 2 * (np.arange(2**differ)[:, None] >> np.arange(differ) & 1)
        for _ in range(10):
            ours, theirs = (random.integers(0, 5, n) for _ in range(2))
            theirs[differ:] = ours[differ:]
            moved = (theirs - ours)[:differ]
            exact = np.mean(np.abs(signs @ moved) >= abs(moved.sum()))
            assert p_of_values(ours / 4, theirs / 4) == (pytest.approx(exact, abs=1e-12), True)


def test_random_signs_count_equal_sums_as_equal():
    """23 against 22 of 45: the sum is as near to 0 as it can be."""
    assert p_of_values(*right_or_wrong(100, 40, 22, 23)) == (1, False)
    assert p_of_values(*right_or_wrong(2447, 900, 823, 822)) == (1, False)


def test_the_baselines_place_does_not_matter():
    ours, theirs = right_or_wrong(100, 60, 2, 9)
    assert p_of_values(ours, theirs) == p_of_values(theirs, ours) == p_of_values(ours[::-1], theirs[::-1])
