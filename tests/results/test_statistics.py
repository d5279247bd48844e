"""Intervals cover what they say, tests are exact where they can be, and all of it is the same each time."""

import numpy as np
import pytest

from sciriff.results import statistics
from sciriff.results.statistics import detectable, drawn_from_all, holm, interval, p_value, resampled_sums, swapped_sums


def abstracts(random: np.random.Generator, n: int) -> np.ndarray:
    """Counts (correct, predicted, expected) of entities in n made-up abstracts, some of them harder than others."""
    expected = 1 + random.poisson(4, n)
    correct = random.binomial(expected, random.beta(2, 2, n))
    return np.stack([correct, correct + random.poisson(1.5, n), expected], axis=1).astype(float)


def micro_f1(sums: np.ndarray) -> np.ndarray:
    return 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])


def test_the_interval_covers_the_true_f1_as_often_as_it_says():
    random = np.random.default_rng(1)
    true = float(micro_f1(abstracts(random, 1_000_000).sum(axis=0)))
    covered = []
    for number in range(600):
        low, high = interval(micro_f1(resampled_sums(abstracts(random, 100), 1000, f"data set {number}")))
        covered.append(low <= true <= high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_a_permutation_test_under_the_null_is_right_as_often_as_it_says():
    random = np.random.default_rng(2)
    p_values = []
    for number in range(500):
        ours, theirs = abstracts(random, 60), abstracts(random, 60)
        swapped, exact = swapped_sums(theirs - ours, 500, f"data set {number}")
        permuted = micro_f1(theirs.sum(axis=0) - swapped) - micro_f1(ours.sum(axis=0) + swapped)
        p_values.append(p_value(float(micro_f1(theirs.sum(axis=0)) - micro_f1(ours.sum(axis=0))), permuted, exact))
    assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.07


def test_a_detectable_difference_is_seen_four_times_of_five():
    random = np.random.default_rng(3)
    seen = []
    for _ in range(2000):
        differences = random.normal(0.25, 1, 125)  # 2.80 standard errors
        seen.append(abs(differences.mean()) > 1.96 * differences.std(ddof=1) / np.sqrt(125))
    assert np.mean(seen) == pytest.approx(0.8, abs=0.03)
    errors = random.normal(0, 1 / np.sqrt(125), 200_000)
    assert detectable(errors) == pytest.approx(0.25, abs=0.003)


def test_resampled_sums_are_those_of_n_draws():
    sums = resampled_sums(np.column_stack([np.eye(7), np.arange(7), np.ones(7)]), 2000, "s")
    weights = sums[:, :7]
    assert (weights >= 0).all()
    assert (weights % 1 == 0).all()
    assert (sums[:, 8] == 7).all()
    assert (sums[:, 7] == weights @ np.arange(7)).all()
    assert weights.mean() == 1
    assert weights.var(axis=0) == pytest.approx([6 / 7] * 7, abs=0.1)


def test_draws_depend_on_the_name_and_the_number_of_instances_alone(monkeypatch: pytest.MonkeyPatch):
    rows = np.arange(40.0).reshape(20, 2)
    first = resampled_sums(rows, 300, "biored_ner")
    resampled_sums(rows, 17, "scierc_ner")
    assert (resampled_sums(rows, 300, "biored_ner") == first).all()
    assert (resampled_sums(rows[:, :1], 300, "biored_ner") == first[:, :1]).all()
    assert (resampled_sums(rows, 300, "scierc_ner") != first).any()
    monkeypatch.setattr(statistics, "CELLS", 64)
    assert resampled_sums(rows, 300, "biored_ner").shape == first.shape


def test_few_differences_are_permuted_in_all_ways():
    ours, theirs = np.array([[0.0], [1], [0], [1]]), np.array([[1.0], [1], [2], [1]])
    swapped, exact = swapped_sums(theirs - ours, 100, "s")
    assert exact
    assert sorted(swapped.ravel()) == [0, 1, 2, 3], "two instances differ, by 1 and by 2"
    permuted = (theirs.sum() - swapped.ravel()) - (ours.sum() + swapped.ravel())
    assert sorted(permuted) == [-3, -1, 1, 3]
    assert p_value(3, permuted, exact) == 2 / 4
    assert p_value(1, permuted, exact) == 1
    assert set(drawn_from_all(permuted, 500, "s")) == {-3, -1, 1, 3}


def test_random_permutations_come_near_all_of_them():
    differences = np.random.default_rng(0).normal(0.4, 1, (12, 1))
    every, exact = swapped_sums(differences, 10_000, "s")
    some, not_exact = swapped_sums(differences, 4000, "s")
    assert (exact, not_exact) == (True, False)
    observed = float(differences.sum())
    ps = [p_value(observed, (observed - 2 * sums).ravel(), e) for sums, e in ((every, True), (some, False))]
    assert ps[1] == pytest.approx(ps[0], abs=0.02)


def test_nothing_differs():
    swapped, exact = swapped_sums(np.zeros((50, 3)), 100, "s")
    assert (swapped.tolist(), exact) == ([[0, 0, 0]], True)
    assert p_value(0.0, swapped[:, 0], exact) == 1


def test_p_is_never_0_without_all_permutations():
    assert p_value(5, np.zeros(99), every=False) == 1 / 100
    assert p_value(5, np.zeros(64), every=True) == 0


def test_rounding_does_not_make_a_tie_a_difference():
    assert p_value(0.1 + 0.2, np.array([0.3, -0.3]), every=True) == 1


@pytest.mark.parametrize(
    ("given", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.6, 0.4], [0.8, 0.8]),
        ([0.9, 0.8], [1, 1]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holm(given: list[float], adjusted: list[float]):
    assert holm(given) == pytest.approx(adjusted)


def test_interval():
    assert interval(np.arange(1001.0)) == (25, 975)
