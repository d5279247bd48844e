"""Average several sampled answers to each instance: each sample is scored as a run of its own."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev


def averaged(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over samples of each value that all of them have."""
    first, *others = samples
    shared = [name for name in first if all(name in sample for sample in others)]
    return {name: mean([sample[name] for sample in samples]) for name in shared}


def mean(values: Sequence[float]) -> float:
    """Mean that leaves equal values as they are: a count stays whole, and no digit is lost."""
    return values[0] if len(set(values)) == 1 else fmean(values)


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation (n - 1); None for a single value."""
    return stdev(values) if len(values) > 1 else None


def pooled_spread(spreads: Sequence[float | None]) -> float | None:
    """Root of the mean variance over the runs whose `spread` is known."""
    known = [sd for sd in spreads if sd is not None]
    return sqrt(fmean(sd**2 for sd in known)) if known else None
