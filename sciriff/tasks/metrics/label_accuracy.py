"""Share of answers that name the expected label, and nothing else."""

from typing import NamedTuple

from sciriff.tasks.metrics.metric import Metric, ratio

AROUND = "\"'`.*"
"""Characters around a label that do not count: quotation marks, a final full stop, the asterisks of bold type."""


class LabelCounts(NamedTuple):
    instances: float
    correct: float


def label(text: str) -> str:
    """Normalise a label: without regard to case, white space and what stands AROUND it."""
    return " ".join(text.casefold().split()).strip(AROUND + " ")


def _count(answer: str, reference: str) -> LabelCounts:
    return LabelCounts(1, label(answer) == label(reference))


label_accuracy = Metric(
    numbers=LabelCounts,
    count=_count,
    scores=lambda sums: {"accuracy": ratio(sums.correct, sums.instances)},
)
