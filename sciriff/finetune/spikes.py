"""Loss spikes, by a fixed rule, so that `spike` in metrics.jsonl means the same in every run."""

from collections.abc import Sequence
from statistics import median

WINDOW = 100
"""Steps that a loss is compared with."""
FEWEST = 20
"""Losses that must be known before one can be a spike."""
DEVIATIONS = 6.0
"""Standard deviations above the window's median, estimated as 1.4826 times the median absolute deviation (Rousseeuw and
Croux 1993), so that earlier spikes do not hide a later one."""
MIN_DEVIATION = 0.01
"""Lower bound of the deviation, as a share of the median: a flat curve has next to none of its own."""


def is_spike(loss: float, before: Sequence[float]) -> bool:
    """Return whether `loss` is far above the last WINDOW losses `before` it."""
    window = before[-WINDOW:]
    if len(window) < FEWEST:
        return False
    middle = median(window)
    deviation = 1.4826 * median(abs(value - middle) for value in window)
    return loss > middle + DEVIATIONS * max(deviation, MIN_DEVIATION * abs(middle))
