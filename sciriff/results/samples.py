"""Several answers to each instance, drawn by chance: each sample is scored as a run of its own, and these averaged."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev

LEAST = 2
"""Samples below which nothing can be said of how others would differ."""


def averaged(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over samples of each value that all of them have; of one sample its values as they are."""
    first, *others = samples
    shared = [name for name in first if all(name in sample for sample in others)]
    return {name: mean([sample[name] for sample in samples]) for name in shared}


def mean(values: Sequence[float]) -> float:
    """That of values which are all the same is this very value: a count stays whole, and no digit is lost."""
    return values[0] if len(set(values)) == 1 else fmean(values)


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation over samples (n - 1); None where there is but one."""
    return stdev(values) if len(values) >= LEAST else None


def pooled_spread(spreads: Sequence[float | None]) -> float | None:
    """That of one sample of one run, where several runs have one each: the root of the mean variance."""
    known = [one for one in spreads if one is not None]
    return sqrt(fmean(one**2 for one in known)) if known else None
