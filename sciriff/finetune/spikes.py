"""When a loss is a spike: a rule, so that the mark in metrics.jsonl means the same in every run."""

from collections.abc import Sequence
from statistics import median

WINDOW = 100
"""Steps that a loss is compared with; no loss is a spike before FEWEST of them are known."""
FEWEST = 20
DEVIATIONS = 6.0
"""Standard deviations above the median of the window, the deviation estimated as 1.4826 times the median absolute
deviation (Rousseeuw and Croux 1993), so that earlier spikes do not hide a later one."""
LEAST = 0.01
"""Of the median: the least that counts as one deviation. A curve that lies still has next to none of its own."""


def is_spike(loss: float, before: Sequence[float]) -> bool:
    """Whether `loss` stands out above the last WINDOW losses `before` it."""
    window = before[-WINDOW:]
    if len(window) < FEWEST:
        return False
    middle = median(window)
    deviation = 1.4826 * median(abs(value - middle) for value in window)
    return loss > middle + DEVIATIONS * max(deviation, LEAST * abs(middle))
