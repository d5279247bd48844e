"""What each unit adds to a score: scores of sums, such as micro F1 and BLEU, treated as means of one number per unit.

A unit is an instance, or the instances of one document: a row of numbers, and a score is a function of the sums of
their columns. To first order a score moves by a unit's `influence` if the unit is drawn once more (the influence
function of Hampel 1974: here the gradient of the score times the row). Variances, intervals and tests follow from these
numbers, without resampling. Leading axes of all arrays may hold several data sets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sciriff.results.statistics import SAME, Array

STEP = 1e-5
"""Relative step of the numerical gradient, whose error is then about 1e-10 of the score."""
NOISE = 1e-8
"""A unit's influence of at most this part of its share comes from the gradient's error."""
SMALL = 1e-6
"""Takes the place of sums of 0 where a score is 0, to find which numbers it is divided by."""


@dataclass(frozen=True)
class LinearScore:
    """A score in [0, 1] of n units, and each unit's part in it."""

    value: Array
    """The score, [...]."""
    influence: Array
    """Gradient of the score times each unit's row, [..., n]; the sum over units is 0."""
    share: Array
    """Each unit's share, [..., n], of what the score is divided by: 1 / n for a mean, the part of all predicted and
    expected items for F1. Units that a column is not made of have 0."""
    used: npt.NDArray[np.bool_]
    """Numbers of a row that the score depends on, [..., k]."""

    @property
    def units(self) -> npt.NDArray[np.int_]:
        """Number of units that the score is made of, [...]."""
        return np.count_nonzero(self.share, axis=-1)

    @property
    def effective_units(self) -> Array:
        """Number of equally large units that would be as much information as these, [...] (Kish 1965)."""
        return 1 / np.sum(self.share**2, axis=-1)

    @property
    def deviations(self) -> Array:
        """What the score loses if a unit is left out, [..., n]; exact for F1 and means. 0 where that is rounding."""
        found = self.influence / np.maximum(1 - self.share, SAME)
        return np.where(np.abs(self.influence) <= NOISE * self.share, 0, found)


def linear_scores(scores: Callable[[Array], Mapping[str, Array]], rows: Array) -> dict[str, LinearScore]:
    """Linearise every column of `scores`, a function of sums [..., k], on the rows [..., n, k] of n units."""
    sums = rows.sum(axis=-2)
    found = {}
    for column, (value, gradient) in _gradients(scores, sums).items():
        influence = np.where(value[..., None] > SAME, np.einsum("...nk,...k->...n", rows, gradient), 0)
        found[column] = LinearScore(value, influence, _shares(rows, gradient), gradient != 0)
    return found


def averaged(scores: Sequence[LinearScore]) -> LinearScore:
    """Mean of scores of the same units: of samples of the answers, or of runs with several seeds."""
    if len(scores) == 1:
        return scores[0]
    return LinearScore(
        np.mean([score.value for score in scores], axis=0),
        np.mean([score.influence for score in scores], axis=0),
        np.mean([score.share for score in scores], axis=0),
        np.any([score.used for score in scores], axis=0),
    )


def _gradients(scores: Callable[[Array], Mapping[str, Array]], sums: Array) -> dict[str, tuple[Array, Array]]:
    """Column -> its value, [...], and its derivatives by each sum, [..., k]."""
    values = {column: np.asarray(value, dtype=float) for column, value in scores(sums).items()}
    slopes = _slopes(scores, sums)
    # A score of 0 has no slope that tells its units' sizes; a little more than 0 has.
    raised = np.where(sums == 0, SMALL, sums)
    others = _slopes(scores, raised) if any(np.any(value <= SAME) for value in values.values()) else slopes
    found = {}
    for column, value in values.items():
        zero = (value <= SAME)[..., None]
        gradient = np.where(zero, others[column] / raised, slopes[column] / np.where(sums == 0, 1, sums))
        found[column] = value, gradient
    return found


def _slopes(scores: Callable[[Array], Mapping[str, Array]], sums: Array) -> dict[str, Array]:
    """Column -> its derivatives by each sum times the sum, [..., k]. A sum of 0 stays 0, so that its slope is 0."""
    k = sums.shape[-1]
    steps = STEP * np.eye(k)
    moved = scores(sums[..., None, :] * np.concatenate([1 + steps, 1 - steps]))
    return {column: (value[..., :k] - value[..., k:]) / (2 * STEP) for column, value in moved.items()}


def _shares(rows: Array, gradient: Array) -> Array:
    """Each unit's part of the numbers that lower the score as they grow, [..., n]. The same for all units where there
    are no such numbers."""
    sizes = np.einsum("...nk,...k->...n", rows, np.minimum(gradient, 0))
    sizes = np.where(sizes < -SAME * np.abs(sizes).max(axis=-1, keepdims=True), sizes, 0)
    whole = sizes.sum(axis=-1, keepdims=True)
    return np.where(whole < 0, sizes / np.where(whole < 0, whole, 1), 1 / rows.shape[-2])
