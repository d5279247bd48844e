"""Paired test of the difference of two scores on the same units, by changes of sign of what each unit adds to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sciriff.results.linear_scores import LinearScore
from sciriff.results.statistics import Array, all_subset_sums, p_value, random_subset_sums

LEAST_SPREAD = 1e-6
"""Least part of the sum of squares that is left as variance where all units differ alike."""
TIES = 1e-7
"""Sums that differ by less than this part of their standard error are equal: the error of the numerical gradients stays
below 1e-9 in a sum of 25,000 right and wrong answers, and different sums are seldom so close. A part that is smaller
than this beside the largest is 0."""


@dataclass(frozen=True)
class Parts:
    """What each unit of one task adds to a difference, [n]; the sum is the difference. Tasks are independent."""

    task: str
    values: Array
    units: int
    """Units that the difference is made of, with those that add 0 to it."""


def difference_parts(ours: LinearScore, theirs: LinearScore, differ: npt.NDArray[np.bool_]) -> Array:
    """What each unit adds to `theirs` - `ours`, if both scores are estimates of the same score, [..., n]. `differ` has
    the units with different numbers in the two, [..., n]; the others add nothing.

    The null hypothesis is a common score, for which the mean of the two stands: as a score test does, and unlike one
    that exchanges the answers of two runs, it lets precision and recall differ. For F1 a unit's part is
    2 (correct - F (predicted + expected) / 2) / all (predicted + expected) of the one run, minus the same of the other,
    with F the mean of the two; for means it is the difference of the unit's two values, over n. In general it is the
    difference of the influences plus the mean of the unit's two shares in the difference.

    A unit with the same numbers in both would add a little where the two scores are divided by different numbers. This
    is spread over those that differ, by their shares: otherwise it would break the ties of the test of a few units.
    """
    shares = (ours.share + theirs.share) / 2
    difference = np.asarray(theirs.value - ours.value)[..., None]
    parts = np.where(differ, theirs.influence - ours.influence + difference * shares, 0)
    shares = np.where(differ, shares, 0)
    whole = shares.sum(axis=-1, keepdims=True)
    rest = difference - parts.sum(axis=-1, keepdims=True)
    return np.asarray(parts + rest * shares / np.where(whole > 0, whole, 1))


def sign_flip_test(tasks: Sequence[Parts], resamples: int) -> tuple[float, bool]:
    """Two-sided p of a difference of 0, and whether all combinations of signs were tried.

    Each unit's part keeps or changes its sign with equal chance (for linearised scores: Hemerik, Goeman & Finos 2020),
    and the sum is divided by its estimated standard error each time, which is studentised: tasks may differ in
    opposite directions where only the mean of several is compared. All combinations are tried if there are at most
    `resamples`; units that add nothing have no sign. p is 1 where no unit adds anything.
    """
    largest = max((float(np.abs(task.values).max(initial=0)) for task in tasks), default=0)
    added = [task.values[np.abs(task.values) > TIES * largest] for task in tasks]
    if not any(map(len, added)):
        return 1.0, True
    every = 2 ** sum(map(len, added)) <= resamples
    if every:
        sums = _all_sums(added)
    else:
        drawn = (random_subset_sums(v[:, None], resamples, t.task) for t, v in zip(tasks, added, strict=True))
        sums = np.column_stack([values.sum() - 2 * part[:, 0] for values, part in zip(added, drawn, strict=True)])
    squares = np.array([np.sum(values**2) for values in added])
    units = np.array([max(task.units, 1) for task in tasks])
    observed = np.array([values.sum() for values in added])
    statistics = studentised(np.vstack([sums, observed]), squares, units)
    last = float(statistics[-1])
    return p_value(last, statistics[:-1], every, ties=TIES * max(1.0, abs(last))), every


def _all_sums(added: Sequence[Array]) -> Array:
    """Sums of each task, [m, tasks], for all combinations of signs of all units."""
    blocks = np.zeros((sum(map(len, added)), len(added)))
    first = 0
    for task, values in enumerate(added):
        blocks[first : first + len(values), task] = values
        first += len(values)
    return np.asarray(blocks.sum(axis=0) - 2 * all_subset_sums(blocks))


def studentised(sums: Array, squares: Array, units: npt.NDArray[np.int_]) -> Array:
    """The sum over tasks by its standard error, [...], from the sums of each task, [..., tasks], and of its squares.

    For one task that is in the order of the sums alone, since a change of sign changes no square: these are only
    scaled, so that equal sums stay equal.
    """
    if sums.shape[-1] == 1:
        return np.asarray(sums[..., 0] / np.sqrt(squares[..., 0]))
    spread = np.maximum(squares - sums**2 / units, LEAST_SPREAD * squares).sum(axis=-1)
    return np.asarray(sums.sum(axis=-1) / np.sqrt(spread))
