"""One score in two runs, or two sets of seeds, on the same instances: the difference, and what it is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

import numpy as np

from sciriff.results.seeds import Value, mean_of_columns, value_of
from sciriff.results.shared_instances import count_instances
from sciriff.results.statistics import ALPHA, LEAST, Array, detectable, drawn_from_all, interval, p_value

SEED_ERRORS = 2.0
"""Standard errors over seeds that a difference must exceed. A rule of thumb: two or three seeds allow no sharp test."""

HIGHER, LOWER = "higher", "lower"
NOISE, SEED_NOISE = "within noise", "within seed noise"


@dataclass(frozen=True)
class Difference:
    """One column, or the mean of several, in two runs on the same n instances. Scores and differences are 0-1."""

    name: str
    n: int
    baseline: Value
    value: Value
    ci95: tuple[float, float] | None
    """Paired, over instances; None with a single instance."""
    p: float
    """Paired test by changes of sign, two-sided."""
    exact: bool
    """Every combination of signs was tried."""
    detectable: float | None
    """Smallest true difference that such a pair would show (80 % power at 5 %); None if no answer differs, or neither
    score varies."""
    p_holm: float | None
    """p after Holm's correction over the columns; None for the mean, which is one number."""

    @property
    def difference(self) -> float:
        return self.value.mean - self.baseline.mean

    @property
    def verdict(self) -> str:
        """Higher or lower than the baseline, or the noise that explains the difference."""
        if (self.p if self.p_holm is None else self.p_holm) >= ALPHA:
            return NOISE
        if abs(self.difference) <= SEED_ERRORS * _seed_error(self.baseline, self.value):
            return SEED_NOISE
        return HIGHER if self.difference > 0 else LOWER


def _seed_error(one: Value, other: Value) -> float:
    """Standard error over seeds; 0 for two single runs. Beside seeds a single run is taken to vary as they do."""
    known = next((value.sd for value in (one, other) if value.sd is not None), 0.0)
    return sqrt(sum((known if value.sd is None else value.sd) ** 2 / value.runs for value in (one, other)))


@dataclass(frozen=True)
class Measured:
    """One general task, or the mean of several, with its resampled differences, before Holm's correction."""

    name: str
    task: str
    n: int
    values: tuple[list[list[float]], list[list[float]]]
    """(baseline, other): for each run the values of its samples."""
    resampled: Array
    """Differences in bootstrap samples, [resamples]."""
    observed: float
    """Difference that the permuted ones are compared with."""
    permuted: Array
    """Differences after permutations, [permutations]."""
    exact: bool
    differ: bool
    """Some document has different values in the two."""
    smallest: int
    """Documents in the smallest leaf; a single one gives no interval."""

    @property
    def p(self) -> float:
        return p_value(self.observed, self.permuted, self.exact)

    @property
    def drawn(self) -> Array:
        """As many permuted differences as there are resamples, to average with those of other columns."""
        return drawn_from_all(self.permuted, len(self.resampled), self.task) if self.exact else self.permuted

    def difference(self, p_holm: float | None) -> Difference:
        baseline, value = map(value_of, self.values)
        return Difference(
            name=self.name,
            n=self.n,
            baseline=baseline,
            value=value,
            ci95=interval(self.resampled) if self.smallest >= LEAST else None,
            p=self.p,
            exact=self.exact,
            detectable=detectable(self.resampled) if self.smallest >= LEAST and self.differ else None,
            p_holm=p_holm,
        )


def mean_of(columns: Sequence[Measured], name: str) -> Measured:
    """Average general tasks, which are resampled and permuted independently."""
    ours, theirs = (mean_of_columns([column.values[side] for column in columns]) for side in (0, 1))
    n = count_instances((column.task, column.n) for column in columns)
    return Measured(
        name=name,
        task="",
        n=n,
        values=(ours, theirs),
        resampled=np.mean([column.resampled for column in columns], axis=0),
        observed=fmean(column.observed for column in columns),
        permuted=np.mean([column.drawn for column in columns], axis=0),
        exact=False,
        differ=any(column.differ for column in columns),
        smallest=n,
    )
