"""Metric: additive counts of one instance, and the scores computed from their sums."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sciriff.tasks.metrics.matches import Matches


class WrongShape(ValueError):
    """A parsed answer that cannot be scored, such as a number in place of an object."""


@dataclass(frozen=True)
class Metric:
    """Scores of a set of instances depend only on summed counts, so intervals and tests never read a text again."""

    numbers: type[Any]
    """NamedTuple of the counts of one instance, or of their sums over several."""
    count: Callable[[Any, Any], Any]
    """(answer, reference) -> counts of one instance. Raises WrongShape."""
    scores: Callable[[Any], dict[str, float]]
    """Sums -> scores by name; arrays of sums, one element per resample -> arrays of scores."""
    in_form: Callable[[Any], bool] = lambda answer: True
    """Whether a countable answer has the form that the task asks for; affects `readable` alone."""
    matches: Callable[[Any, Any], Matches] | None = None
    """(answer, reference) -> the items that `count` counts. Raises WrongShape like `count`."""

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self.numbers._fields)

    @property
    def zero(self) -> Any:
        """Counts of no instance."""
        return self.numbers(*(0 for _ in self.fields))


def ratio(part: float, whole: float) -> float:
    """part / whole, and 0 where whole is 0. The condition is arithmetic, for formulas over sums also take arrays."""
    return part * (whole != 0) / (whole + (whole == 0))


def harmonic(precision: float, recall: float) -> float:
    """F1 = 2PR / (P + R), and 0 where both are 0. Takes arrays, too."""
    return ratio(2 * precision * recall, precision + recall)


def p_r_f1(name: str, correct: float, preds: float, refs: float) -> dict[str, float]:
    """Micro precision, recall and F1 of summed counts: `<name>_p`, `<name>_r`, `<name>_f1`; `p`, `r`, `f1` if empty."""
    precision, recall = ratio(correct, preds), ratio(correct, refs)
    prefix = f"{name}_" if name else ""
    return {f"{prefix}p": precision, f"{prefix}r": recall, f"{prefix}f1": harmonic(precision, recall)}
