"""Made-up test sets for benchmarks/calibration.py: the shapes of the eleven columns, and others that are hard.

A shape draws the rows of two models on the same units. Sizes of lists and numbers of instances are those of SciRIFF's
validation split; how good the models are is invented.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sciriff.tasks.metrics.metric import p_r_f1, ratio
from sciriff.tasks.metrics.text_overlap import BleuCounts, bleu

Array = npt.NDArray[np.float64]
Sizes = Callable[[np.random.Generator, tuple[int, int]], Array]
TOGETHER = 0.5
"""Correlation of what two models find hard, in normal scores."""


@dataclass(frozen=True)
class Shape:
    """Test sets of n units, on which two models answer."""

    name: str
    n: int
    scores: Callable[[Array], Mapping[str, Array]]
    """Sums of rows, [..., k] -> the score, [...]."""
    draw: Callable[[np.random.Generator, int, int, float], tuple[Array, Array]]
    """(random numbers, data sets, units, effect) -> rows of two models, [data sets, units, k] each.

    With an effect of 0 they have the same score, if of other precision and recall; with `effect` above 0 the second is
    like the first, and so much better."""


def f1(sums: Array) -> Mapping[str, Array]:
    """F1 of sums of correct, predicted and expected items."""
    return {"score": np.asarray(p_r_f1("", *np.moveaxis(sums, -1, 0))["f1"])}  # type: ignore[arg-type]


def mean(sums: Array) -> Mapping[str, Array]:
    """Mean of values whose sum and number are given."""
    return {"score": np.asarray(ratio(sums[..., 0], sums[..., 1]))}  # type: ignore[arg-type]


def corpus_bleu(sums: Array) -> Mapping[str, Array]:
    """BLEU of its sums."""
    return {"score": np.asarray(bleu.scores(BleuCounts(*np.moveaxis(sums, -1, 0)))["bleu"])}


def one_of(values: list[float], shares: list[float]) -> Sizes:
    """Draw one of some values, with these shares."""
    edges = np.cumsum(shares)[:-1]
    return lambda random, shape: np.asarray(values)[np.searchsorted(edges, random.random(shape))]


def counts(average: float, sd: float) -> Sizes:
    """Draw sizes of at least 1 with this mean and standard deviation (negative binomial)."""
    more = average - 1
    form = more**2 / (sd**2 - more)
    return lambda random, shape: 1.0 + random.poisson(random.gamma(form, more / form, shape))


def heavy(average: float, sigma: float) -> Sizes:
    """Draw sizes of at least 1 with a heavy tail: a lognormal's."""
    middle = np.log(average) - sigma**2 / 2
    return lambda random, shape: 1 + np.floor(random.lognormal(middle, sigma, shape))


def tokens(none: float, average: float) -> Sizes:
    """Draw numbers of words of evidence, which a part of the references does not have."""
    return lambda random, shape: np.where(
        random.random(shape) < none, 0, np.floor(1 + random.gamma(2.2, average / 2.2, shape))
    )


def lists(
    name: str,
    n: int,
    sizes: Sizes,
    recall: float,
    spurious: float,
    other_recall: float,
    alike: float,
    unreadable: float = 0.0,
    beside: float = 0.0,
) -> Shape:
    """Lists of items that are scored by micro F1. `spurious` wrong items stand beside each expected one, and beside
    `beside` items more; `alike` (a beta distribution's) tells how alike the units' recalls are; a part of the answers
    is `unreadable`. The second model has `other_recall`, and as many wrong items as give the same F1."""
    average = float(sizes(np.random.default_rng(0), (1, 1_000_000)).mean())
    readable, more = 1 - unreadable, 1 + beside / average
    value = 2 * readable * recall / (readable * (recall + spurious * more) + 1)
    other_spurious = ((2 * readable * other_recall / value - 1) / readable - other_recall) / more
    assert other_spurious >= 0, f"{name}: no F1 of {value:.3f} with a recall of {other_recall}"

    def draw(random: np.random.Generator, sets: int, units: int, effect: float) -> tuple[Array, Array]:
        shape = sets, units
        expected, hard = sizes(random, shape), random.standard_normal(shape)
        talkative = random.gamma(2, 0.5, shape)
        better = min(recall + effect, 0.999)
        runs = ((recall, spurious), (better, spurious) if effect else (other_recall, other_spurious))
        found = []
        for of_run, wrong in runs:
            skills = _skills(random, hard, of_run, alike)
            correct = random.binomial(expected.astype(np.int64), skills).astype(float)
            predicted = correct + random.poisson(wrong * (expected + beside) * talkative)
            read = random.random(shape) >= unreadable
            found.append(np.stack([correct * read, predicted * read, expected], axis=-1))
        return found[0], found[1]

    return Shape(name, n, f1, draw)


def values(name: str, n: int, levels: list[float], shares: list[float]) -> Shape:
    """A mean of one value for each answer. An effect moves answers from the lowest level to the highest."""

    def draw(random: np.random.Generator, sets: int, units: int, effect: float) -> tuple[Array, Array]:
        shape = sets, units
        hard = random.standard_normal(shape)
        moved = [shares[0] - effect, *shares[1:-1], shares[-1] + effect]
        found = []
        for of_run in (shares, moved):
            place = np.searchsorted(np.cumsum(of_run)[:-1], _uniform(random, hard))
            value = np.asarray(levels)[place]
            found.append(np.stack([value, np.ones(shape)], axis=-1))
        return found[0], found[1]

    return Shape(name, n, mean, draw)


def tables(name: str, n: int, quality: float, other_quality: float) -> Shape:
    """Texts that are scored by corpus BLEU: those of the first model are too short, the second one's too long."""

    def draw(random: np.random.Generator, sets: int, units: int, effect: float) -> tuple[Array, Array]:
        shape = sets, units
        lengths = np.clip(np.round(random.lognormal(np.log(450), 0.9, shape)), 20, 4000)
        hard = random.standard_normal(shape)
        better = quality + effect
        found = []
        for good, longer in ((quality, -0.15), (better, -0.15) if effect else (other_quality, 0.1)):
            skills = _skills(random, hard, good, 6)
            predicted = np.round(lengths * np.exp(random.normal(longer, 0.25, shape)))
            possible = [np.maximum(predicted - order, 0) for order in range(4)]
            most = [np.maximum(np.minimum(predicted, lengths) - order, 0) for order in range(4)]
            shared = [
                random.binomial(number.astype(np.int64), skills ** (1 + 0.4 * order)).astype(float)
                for order, number in enumerate(most)
            ]
            found.append(np.stack([*shared, *possible, predicted, lengths], axis=-1))
        return found[0], found[1]

    return Shape(name, n, corpus_bleu, draw)


def nearly_the_same(shape: Shape, differing: float) -> Shape:
    """The same shape, where the second model has the first one's answers but for a part of them."""

    def draw(random: np.random.Generator, sets: int, units: int, effect: float) -> tuple[Array, Array]:
        ours, theirs = shape.draw(random, sets, units, effect)
        others = random.random((sets, units)) < differing
        return ours, np.where(others[..., None], theirs, ours)

    return replace(shape, name=f"{shape.name}, {1 - differing:.0%} of answers the same", draw=draw)


def _uniform(random: np.random.Generator, hard: Array) -> Array:
    """Uniform numbers that are correlated with how hard the units are."""
    mixed = np.sqrt(TOGETHER) * hard + np.sqrt(1 - TOGETHER) * random.standard_normal(hard.shape)
    return np.interp(mixed, *_NORMAL)


def _skills(random: np.random.Generator, hard: Array, average: float, alike: float) -> Array:
    """Beta distributed numbers with a mean, correlated with how hard the units are."""
    known = np.sort(np.random.default_rng(1).beta(average * alike, (1 - average) * alike, 20_001))
    return np.interp(_uniform(random, hard), np.linspace(0, 1, len(known)), known)


_POINTS = np.linspace(-5, 5, 2001)
_NORMAL = (_POINTS, np.array([NormalDist().cdf(point) for point in _POINTS]))

COLUMNS = (
    lists("BioASQ F1", 64, counts(4.4, 3.1), 0.45, 0.45, 0.65, alike=2, unreadable=0.03),
    lists("BioRED F1", 100, counts(15, 7.2), 0.6, 0.35, 0.75, alike=6, unreadable=0.02),
    tables("DiSCoMaT BLEU", 475, 0.8, 0.8009),
    lists(
        "Evidence Inference F1",
        250,
        one_of([1, 2, 3, 4, 6, 9], [0.3, 0.3, 0.2, 0.14, 0.04, 0.02]),
        0.15,
        0.9,
        0.22,
        alike=1,
        unreadable=0.1,
    ),
    lists("MultiCite F1", 2447, one_of([1, 2, 3], [0.75, 0.22, 0.03]), 0.4, 0.5, 0.55, alike=1),
    values("MuP rating", 100, [0, 0.25, 0.5, 0.75, 1], [0.03, 0.15, 0.3, 0.42, 0.1]),
    values("Qasper rating", 107, [0, 0.25, 0.5, 0.75, 1], [0.35, 0.15, 0.12, 0.2, 0.18]),
    values("Qasper evidence F1", 107, [0, 0.1, 0.25, 0.4, 0.6, 0.8, 1], [0.35, 0.08, 0.12, 0.12, 0.08, 0.05, 0.2]),
    lists("SciERC F1", 50, counts(13.7, 5.7), 0.35, 0.7, 0.5, alike=8, unreadable=0.04),
    lists("SciFact label F1", 184, one_of([0, 1], [0.35, 0.65]), 0.75, 0.1, 0.85, alike=0.8, beside=0.5),
    lists("SciFact evidence F1", 184, tokens(0.35, 44), 0.55, 0.35, 0.7, alike=1, beside=8),
)
"""In the order of the summary."""

PLAIN, UNEVEN, ONE_OR_TWO = counts(4, 2.2), counts(4, 4.5), one_of([1, 2], [0.5, 0.5])
HARD = (
    lists("F1 0.59, P/R 71/50 and 45/83", 50, UNEVEN, 0.5, 0.204, 0.83, alike=1),
    lists("F1 0.59, P/R 71/50 and 45/83", 250, UNEVEN, 0.5, 0.204, 0.83, alike=1),
    lists("the same, lists more alike", 50, PLAIN, 0.5, 0.204, 0.83, alike=4),
    lists("F1 0.95", 50, PLAIN, 0.95, 0.05, 0.97, alike=8),
    lists("F1 0.95", 250, PLAIN, 0.95, 0.05, 0.97, alike=8),
    lists("heavy-tailed sizes, F1 0.5", 50, heavy(6, 1.2), 0.5, 0.5, 0.7, alike=2),
    lists("heavy-tailed sizes, F1 0.5", 250, heavy(6, 1.2), 0.5, 0.5, 0.7, alike=2),
    lists("heavy-tailed sizes, F1 0.12", 50, heavy(6, 1.2), 0.1, 0.5, 0.15, alike=2),
    lists("rare labels, F1 0.04", 50, ONE_OR_TWO, 0.04, 1, 0.08, alike=1),
    lists("rare labels, F1 0.04", 250, ONE_OR_TWO, 0.04, 1, 0.08, alike=1),
    lists("rare labels in few documents, F1 0.04", 50, counts(8, 6), 0.04, 1, 0.06, alike=0.3),
    lists("rare errors in few documents, F1 0.97", 50, counts(8, 6), 0.97, 0.03, 0.98, alike=0.3),
    lists("few instances, F1 0.33", 10, counts(13.7, 5.7), 0.35, 0.7, 0.5, alike=8),
    values("right or wrong, 0.5", 20, [0, 1], [0.5, 0.5]),
    values("right or wrong, 0.9", 100, [0, 1], [0.1, 0.9]),
    values("right or wrong, 0.97", 50, [0, 1], [0.03, 0.97]),
    *(nearly_the_same(shape, differing) for shape in (COLUMNS[8], COLUMNS[6]) for differing in (0.1, 0.3)),
)
