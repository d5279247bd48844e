"""Bootstrap intervals and tests of weighted means, and what all tests share: p-values, Holm's correction, random draws.

The columns of held-out tasks have intervals and tests of their own (score_intervals.py, paired_test.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RESAMPLES = 10_000
ALPHA = 0.05
"""1 - coverage of the intervals, and the level of the tests."""
POWER = 0.8
"""Chance to see a difference of `detectable` size at ALPHA."""
CELLS = 1 << 20
"""Weights (resamples x units) that are held at a time: 8 MB each for draws, counts and floats."""
LEAST = 2
"""Fewer units than this (instances, documents) give no interval."""
SAME = 1e-12
"""Values that are closer than this differ by rounding."""
FEW = 8
"""Equal values are counted and not drawn one by one where each occurs this often on average."""


@dataclass(frozen=True)
class Stratum:
    """A part of a test set whose instances are drawn for themselves, and whose mean has a fixed share in the score."""

    name: str
    share: float
    """Its share; those of all strata add up to 1."""
    values: Array
    """One for each instance, [n]."""


def swapped_sums(differences: Array, resamples: int, stream: str) -> tuple[Array, bool]:
    """Sums of `differences`, [n, k], over random subsets of units, [m, k], and whether these are all subsets: what run
    B gives to run A if the two values of each unit in the subset change places.

    Units without a difference are left out. All subsets of the others are tried if there are at most `resamples`.
    """
    differences = differences[np.any(differences != 0, axis=1)]
    if 2 ** len(differences) <= resamples:
        return all_subset_sums(differences), True
    return random_subset_sums(differences, resamples, stream), False


def all_subset_sums(rows: Array) -> Array:
    """Sums of the rows of n units, [n, k], over each subset of the units, [2^n, k]."""
    n = len(rows)
    subsets = np.arange(2**n)[:, None] >> np.arange(n) & 1
    return subsets.astype(np.float64) @ rows


def random_subset_sums(rows: Array, resamples: int, stream: str) -> Array:
    """The same over random subsets, [resamples, k], which each unit joins with a chance of one half."""
    n, k = rows.shape
    random = _generator(f"permutation {stream}")
    sums = np.empty((resamples, k))
    for first, last in _chunks(resamples, n):
        bits = np.unpackbits(random.integers(256, size=(last - first, -(-n // 8)), dtype=np.uint8), axis=1, count=n)
        sums[first:last] = bits.astype(np.float64) @ rows
    return sums


def resampled_means(strata: Sequence[Stratum], resamples: int, stream: str) -> Array:
    """Sums of share times mean over the strata, [resamples], in bootstrap samples within each stratum.

    Each sample draws n - 1 of the n instances of a stratum, with replacement: the variance of a mean of n draws is too
    small by the factor (n - 1) / n, which many small strata do not average out (Rao & Wu 1988). A stratum needs two
    instances.
    """
    means = np.zeros(resamples)
    for stratum in strata:
        random = _generator(f"bootstrap {stream} {stratum.name}")
        draws = len(stratum.values) - 1
        means += stratum.share * _sums_of_draws(stratum.values, draws, resamples, random) / draws
    return means


def _sums_of_draws(values: Array, draws: int, resamples: int, random: np.random.Generator) -> Array:
    """Sums of `draws` of the n values, [resamples], with replacement."""
    n = len(values)
    distinct, first, counts = np.unique(values, return_index=True, return_counts=True)
    if len(distinct) * FEW <= n:
        # in the order of their first instances, in which differences and their opposites are drawn alike
        order = np.argsort(first)
        return np.asarray(random.multinomial(draws, counts[order] / n, size=resamples) @ distinct[order])
    sums = np.empty(resamples)
    for start, end in _chunks(resamples, draws):
        sums[start:end] = values[random.integers(n, size=(end - start, draws), dtype=np.int32)].sum(axis=1)
    return sums


def flipped_means(strata: Sequence[Stratum], resamples: int, stream: str) -> tuple[Array, bool]:
    """Sums of share times mean of differences over the strata, [m], after random instances changed their sign, and
    whether these are all combinations of signs, which is so if there are at most `resamples`."""
    parts = np.concatenate([stratum.share * stratum.values / len(stratum.values) for stratum in strata])
    parts = parts[parts != 0]
    sizes, counts = np.unique(np.abs(parts), return_counts=True)
    if 2 ** len(parts) <= resamples or len(sizes) * FEW > len(parts):
        swapped, every = swapped_sums(parts[:, None], resamples, stream)
        return parts.sum() - 2 * swapped[:, 0], every
    positive = _generator(f"permutation {stream}").binomial(counts, 0.5, size=(resamples, len(sizes)))
    return np.asarray((2 * positive - counts) @ sizes), False


def drawn_from_all(values: Array, resamples: int, stream: str) -> Array:
    """Draw `resamples` of the values of all subsets, to add them to values of random subsets."""
    return values[_generator(f"subsets {stream}").integers(len(values), size=resamples)]


def interval(values: Array) -> tuple[float, float]:
    """The central 95 % of resampled values: the percentile interval (Efron & Tibshirani 1993, chapter 13)."""
    low, high = np.quantile(values, (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


def p_value(observed: float, permuted: Array, every: bool, ties: float = SAME) -> float:
    """Two-sided p: the share of permuted differences at least as large as the observed one.

    Those that are smaller by `ties` or less are as large: this must be more than the rounding of equal ones.
    Unless `permuted` holds `every` permutation, the observed one counts as one of them, so that p is never 0 (Phipson &
    Smyth 2010).
    """
    as_large = int(np.count_nonzero(np.abs(permuted) >= abs(observed) - ties))
    return as_large / len(permuted) if every else (as_large + 1) / (len(permuted) + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number, in the given order (Holm 1979): the smallest times m, the next times m - 1 ...,
    none below the one before it and none above 1. The chance of any false alarm stays below ALPHA."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return list(map(float, adjusted))


def detectable(differences: Array) -> float:
    """Smallest true difference that a two-sided test on these instances sees with POWER at ALPHA.

    2.80 standard errors (z of 1 - ALPHA / 2 plus z of POWER); the standard error is the spread of the bootstrapped
    differences (power analysis of Miller 2024, arXiv 2411.00640).
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(POWER)) * float(np.std(differences, ddof=1))


def _generator(stream: str) -> np.random.Generator:
    """Random numbers that depend on the name alone, not on earlier draws."""
    return np.random.default_rng(list(stream.encode(errors="surrogatepass")))


def _chunks(resamples: int, n: int) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of chunks of resamples whose weights fit CELLS."""
    step = max(1, CELLS // max(n, 1))
    for first in range(0, resamples, step):
        yield first, min(first + step, resamples)
