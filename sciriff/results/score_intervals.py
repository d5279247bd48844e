"""95 % intervals of scores, of means of scores and of their differences, from each unit's part in them.

Simulations decided between these and several bootstraps: docs/statistics.md and benchmarks/calibration.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sciriff.results.linear_scores import LinearScore
from sciriff.results.statistics import ALPHA, LEAST, POWER, SAME, Array

FEW = 5
"""With fewer units than this that carry the variance, it is known too badly for an interval to keep its promise."""
FEW_CARRY = f"fewer than {FEW} answers decide its width, so it is rough"


@dataclass(frozen=True)
class Term:
    """A score in a sum of scores."""

    weight: float
    score: LinearScore
    task: str
    """Scores of one task are correlated, since they are made of the same units."""


def variance(score: LinearScore) -> Array:
    """Variance of a score over other units, [...]: the jackknife, leaving out one at a time (Efron & Stein 1981)."""
    units = score.units
    return np.asarray((units - 1) / np.maximum(units, 1) * np.sum(score.deviations**2, axis=-1))


def limits(score: LinearScore) -> tuple[Array, Array]:
    """Limits of the 95 % interval of a score, [...], both in [0, 1].

    Wilson's interval of a share (1927) for as many units as would have the score's variance, value (1 - value) /
    variance, as is usual for shares in surveys (Korn & Graubard 1998; Franco et al. 2019), with the t quantile for the
    effective number of units. It is asymmetric near 0 and 1, and has a width where all or none is right.
    """
    value, units = score.value, score.effective_units
    spread = value * (1 - value)
    known = spread > SAME
    variances = _careful_variance(score)
    effective = np.where(known, spread / np.where(known, variances, 1), units)
    square = student_quantile(1 - ALPHA / 2, units - 1) ** 2
    middle = (value + square / (2 * effective)) / (1 + square / effective)
    width = np.sqrt(square * (np.where(known, spread, 0) / effective + square / (4 * effective**2)))
    width /= 1 + square / effective
    return np.minimum(np.maximum(middle - width, 0), value), np.maximum(np.minimum(middle + width, 1), value)


def interval(score: LinearScore) -> tuple[float, float] | None:
    """The 95 % interval of one score; None with a single unit."""
    if score.units < LEAST:
        return None
    low, high = limits(score)
    return float(low), float(high)


def combined_limits(terms: Sequence[Term]) -> tuple[Array, Array]:
    """Limits of the 95 % interval of a weighted sum of scores, [...]: a mean, or a paired difference.

    The half-widths of the scores' own intervals are added as standard errors are, with the correlations of the scores
    over the units; then the two sides are lengthened or shortened as those of independent scores would be (after
    square-and-add: Newcombe 1998 for paired shares, Zou & Donner 2008 for any sum).
    """
    whole = sum(term.weight * term.score.value for term in terms)
    below, above = (np.array(side) for side in zip(*map(_distances, terms), strict=True))
    halves = np.sqrt((below**2 + above**2) / 2)
    square = np.zeros_like(whole)
    for one, first in enumerate(terms):
        for other, second in enumerate(terms):
            if first.task == second.task:
                shared = 1.0 if one == other else correlation(first.score, second.score)
                square = square + shared * np.sign(first.weight * second.weight) * halves[one] * halves[other]
    alone = np.sum(halves**2, axis=0)
    square = np.maximum(square, 0) / np.where(alone > 0, alone, 1)
    # no side is longer than those of the scores together, so that a mean stays in [0, 1]
    low, high = (np.minimum(np.sqrt(square * np.sum(side**2, axis=0)), side.sum(axis=0)) for side in (below, above))
    return np.asarray(whole - low), np.asarray(whole + high)


def combined_interval(terms: Sequence[Term]) -> tuple[float, float] | None:
    """The 95 % interval of a weighted sum of scores; None where one of these has a single unit."""
    if any(term.score.units < LEAST for term in terms):
        return None
    low, high = combined_limits(terms)
    return float(low), float(high)


def detectable(terms: Sequence[Term]) -> Array:
    """Smallest true value of a weighted sum of scores, other than 0, that a two-sided test sees with POWER at ALPHA.

    The t quantiles of 1 - ALPHA / 2 and of POWER times the standard error (2.80 standard errors with many units: power
    analysis of Miller 2024, arXiv 2411.00640), with degrees of freedom after Satterthwaite 1946. The standard error is
    that of the influences: the paired test has more power than the intervals, which allow for a few large units.
    """
    whole, weighted = np.asarray(0.0), np.asarray(0.0)
    for task in dict.fromkeys(term.task for term in terms):
        of_task = [term for term in terms if term.task == task]
        influence = np.sum([term.weight * term.score.influence for term in of_task], axis=0)
        freedom = np.maximum(np.max([term.score.units for term in of_task], axis=0) - 1, 1)
        found = np.sum(influence**2, axis=-1) * (freedom + 1) / freedom
        whole = whole + found
        weighted = weighted + found**2 / freedom
    freedom = np.where(weighted > 0, whole**2 / np.where(weighted > 0, weighted, 1), 1)
    quantiles = student_quantile(1 - ALPHA / 2, freedom) + student_quantile(POWER, freedom)
    return np.asarray(quantiles * np.sqrt(whole))


def correlation(one: LinearScore, other: LinearScore) -> Array:
    """Correlation of two scores over their units, [...]; 1 for the same numbers, 0 for a score that does not vary."""
    ours, theirs = one.deviations, other.deviations
    products = np.sum(ours * theirs, axis=-1)
    sizes = np.sqrt(np.sum(ours**2, axis=-1) * np.sum(theirs**2, axis=-1))
    same = np.all(ours == theirs, axis=-1) & (one.value == other.value) & np.all(one.share == other.share, axis=-1)
    return np.where(same, 1, products / np.where(sizes > 0, sizes, 1))


def carrying_units(score: LinearScore) -> Array:
    """Number of equal units that the variance of a score would come from, [...]: (sum of squares)^2 / sum of fourth
    powers of the deviations. 0 without any variance."""
    squares = score.deviations**2
    fourth = np.sum(squares**2, axis=-1)
    return np.asarray(np.sum(squares, axis=-1) ** 2 / np.where(fourth > 0, fourth, 1))


def few_carry(score: LinearScore) -> npt.NDArray[np.bool_]:
    """Whether fewer than FEW units carry the variance of a score, [...]."""
    carrying = carrying_units(score)
    return np.asarray((carrying < FEW) & (carrying > 0))


def note(score: LinearScore) -> str:
    """What to say beside an interval that is rough, which may be too wide or too narrow; empty for others."""
    return FEW_CARRY if score.units >= LEAST and few_carry(score) else ""


def student_quantile(probability: float, freedom: Array) -> Array:
    """Quantiles of Student's t distribution for degrees of freedom of 1 or more, [...], within 0.1 %."""
    inverse, logarithms = _quantile_table(probability)
    return np.exp(np.interp(1 / np.maximum(freedom, 1), inverse, logarithms))


@cache
def _quantile_table(probability: float) -> tuple[Array, Array]:
    """(1 / degrees of freedom, logarithm of the quantile), from no to one.

    With t = sqrt(f) tan(a) the density is proportional to cos(a)^(f - 1), which is added up along a.
    """
    angles = np.linspace(0, np.pi / 2, 4001)
    inverse = np.linspace(0, 1, 201)
    quantiles = [NormalDist().inv_cdf(probability)]
    for freedom in 1 / inverse[1:]:
        density = np.cos(angles) ** (freedom - 1)
        added = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
        angle = np.interp((2 * probability - 1) * added[-1], added, angles)
        quantiles.append(np.sqrt(freedom) * np.tan(angle))
    return inverse, np.log(quantiles)


def _careful_variance(score: LinearScore) -> Array:
    """The variance, raised where few units carry it.

    The largest variance that a mean of such units can have is value (1 - value) / units, if each is all right or all
    wrong. It is averaged with the estimate, with a weight of one to the square of the number of units that carry this.
    """
    found = variance(score)
    largest = score.value * (1 - score.value) / score.effective_units
    weight = carrying_units(score) ** 2
    return np.asarray((weight * found + np.maximum(found, largest)) / (weight + 1))


def _distances(term: Term) -> tuple[Array, Array]:
    """How far a term of a sum reaches below and above its value."""
    low, high = limits(term.score)
    below, above = abs(term.weight) * (term.score.value - low), abs(term.weight) * (high - term.score.value)
    return (below, above) if term.weight > 0 else (above, below)
