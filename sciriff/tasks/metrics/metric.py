"""What a metric is: numbers of one instance that can be summed, and the scores that follow from the sums."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sciriff.tasks.metrics.matches import Matches


class WrongShape(ValueError):
    """An answer that was read but cannot be scored, such as a number where an object is due."""


@dataclass(frozen=True)
class Metric:
    """Scores of a set of instances depend on it only through sums, so a bootstrap resamples rows and never recounts."""

    numbers: type[Any]
    """A NamedTuple: the numbers of one instance, or their sums over several."""
    count: Callable[[Any, Any], Any]
    """(answer, reference) -> the numbers of one instance. Raises WrongShape."""
    scores: Callable[[Any], dict[str, float]]
    """The sums -> scores by name; arrays of sums, one for each resample -> arrays of scores."""
    in_form: Callable[[Any], bool] = lambda answer: True
    """Whether an answer is what the task asked for, of those that can be counted all the same: for `readable` alone."""
    matches: Callable[[Any, Any], Matches] | None = None
    """(answer, reference) -> what the numbers of one instance count, item by item. Raises WrongShape like `count`."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the numbers, in their order."""
        fields: tuple[str, ...] = self.numbers._fields
        return fields

    @property
    def nothing(self) -> Any:
        """The numbers of no instance at all."""
        return self.numbers(*(0 for _ in self.fields))


def ratio(part: float, whole: float) -> float:
    """part / whole, and 0 where that is not defined. As all formulas over sums, it takes numpy arrays of many sums too,
    element by element, which is why the condition is arithmetic; numpy itself is not needed for that."""
    return part * (whole != 0) / (whole + (whole == 0))


def harmonic(precision: float, recall: float) -> float:
    """F1 = 2PR / (P + R), and 0 where both are 0. Takes arrays too."""
    return ratio(2 * precision * recall, precision + recall)


def p_r_f1(name: str, correct: float, preds: float, refs: float) -> dict[str, float]:
    """Micro precision, recall and F1 of pooled counts, as `<name>_p`, `<name>_r`, `<name>_f1` (bare without a name)."""
    precision, recall = ratio(correct, preds), ratio(correct, refs)
    prefix = f"{name}_" if name else ""
    return {f"{prefix}p": precision, f"{prefix}r": recall, f"{prefix}f1": harmonic(precision, recall)}
