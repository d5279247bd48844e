"""Tests are exact where they can be, and what is drawn at random is the same each time."""

import numpy as np
import pytest

from sciriff.results import statistics
from sciriff.results.statistics import (
    detectable,
    drawn_from_all,
    holm,
    interval,
    p_value,
    random_subset_sums,
    swapped_sums,
)


def test_a_detectable_difference_is_seen_four_times_of_five():
    random = np.random.default_rng(3)
    seen = []
    for _ in range(2000):
        differences = random.normal(0.25, 1, 125)  # 2.80 standard errors
        seen.append(abs(differences.mean()) > 1.96 * differences.std(ddof=1) / np.sqrt(125))
    assert np.mean(seen) == pytest.approx(0.8, abs=0.03)
    errors = random.normal(0, 1 / np.sqrt(125), 200_000)
    assert detectable(errors) == pytest.approx(0.25, abs=0.003)


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


def test_draws_depend_on_the_name_and_the_number_of_units_alone(monkeypatch: pytest.MonkeyPatch):
    rows = np.arange(40.0).reshape(20, 2)
    first = random_subset_sums(rows, 300, "biored_ner")
    random_subset_sums(rows, 17, "scierc_ner")
    assert (random_subset_sums(rows, 300, "biored_ner") == first).all()
    assert (random_subset_sums(rows[:, :1], 300, "biored_ner") == first[:, :1]).all()
    assert (random_subset_sums(rows, 300, "scierc_ner") != first).any()
    monkeypatch.setattr(statistics, "CELLS", 64)
    assert random_subset_sums(rows, 300, "biored_ner").shape == first.shape


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
