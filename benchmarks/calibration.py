"""How often intervals cover what is true, and tests find it, in simulations of the shapes of the eleven columns.

python benchmarks/calibration.py          a tenth of the simulations again, beside all that are stored
python benchmarks/calibration.py --all    all of them, into benchmarks/calibration.tsv

"Before" are the percentile bootstrap and the test that exchanges two runs' answers, which were used until December
2026; BCa and the bootstrap-t of log-odds were tried. "After" is what scoring and comparing use.
"""

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from calibration_shapes import COLUMNS, HARD, Array, Shape

from sciriff.results import statistics
from sciriff.results.linear_scores import LinearScore, linear_scores
from sciriff.results.paired_test import Parts, difference_parts, sign_flip_test
from sciriff.results.score_intervals import Term, combined_limits, detectable, few_carry, limits
from sciriff.results.statistics import ALPHA, p_value
from sciriff.run import machine

FILE = Path(__file__).with_suffix(".tsv")
BATCHES, SETS = 10, 400
"""Simulated data sets: 4,000 a cell, the first 400 of which are repeated."""
RESAMPLES = 1000
"""Bootstraps, and random signs of the tests: 10,000 when comparing."""
SEED = 16
TRUE_UNITS, TRUE_SETS = 200_000, 10
"""The true scores are those of 2 million units."""
EFFECTS = {
    ("SciERC F1", 50): 0.1,
    ("BioASQ F1", 64): 0.15,
    ("BioRED F1", 100): 0.06,
    ("Qasper rating", 107): 0.12,
    ("SciFact label F1", 184): 0.08,
    ("Evidence Inference F1", 250): 0.06,
    ("DiSCoMaT BLEU", 475): 0.012,
    ("F1 0.59, P/R 71/50 and 45/83", 50): 0.1,
    ("heavy-tailed sizes, F1 0.5", 50): 0.15,
    ("rare labels, F1 0.04", 250): 0.05,
}
"""Shape -> effect with which the power of the two tests is compared."""
SHAPES = {(shape.name, shape.n): shape for shape in (*COLUMNS, *HARD)}
MEAN = "mean of the eleven columns"


@dataclass(frozen=True)
class Batch:
    """What one batch of simulated data sets of a shape gives."""

    scores: tuple[LinearScore, LinearScore]
    resampled: tuple[Array, Array]
    """Bootstrapped scores of both models, [sets, resamples]."""
    exchanged: Array
    """Differences after answers were exchanged, [sets, resamples]."""
    parts: Array
    """What each unit adds to the difference, [sets, n]."""
    weights: Array
    """How often each unit was drawn in the bootstrap, [resamples, n]."""

    @property
    def difference(self) -> Array:
        return np.asarray(self.scores[1].value - self.scores[0].value)


def batch(shape: Shape, number: int, effect: float) -> Batch:
    """Simulate one batch. Its random numbers depend on the shape's name, n and the number alone."""
    random = np.random.default_rng([SEED, number, shape.n, *shape.name.encode()])
    rows = shape.draw(random, SETS, shape.n, effect)
    weights = random.multinomial(shape.n, np.full(shape.n, 1 / shape.n), size=RESAMPLES).astype(float)
    swaps = random.integers(2, size=(RESAMPLES, shape.n)).astype(float)
    ours, theirs = (linear_scores(shape.scores, run)["score"] for run in rows)
    moved = weighted(rows[1] - rows[0], swaps)
    sums = [run.sum(axis=1)[:, None] for run in rows]
    exchanged = shape.scores(sums[1] - moved)["score"] - shape.scores(sums[0] + moved)["score"]
    differ = np.any(rows[0] != rows[1], axis=-1)
    parts = difference_parts(ours, theirs, differ)
    resampled = tuple(shape.scores(weighted(run, weights))["score"] for run in rows)
    return Batch((ours, theirs), resampled, exchanged, parts, weights)  # type: ignore[arg-type]


def weighted(rows: Array, weights: Array) -> Array:
    """Sums of rows, [sets, n, k], by weights, [resamples, n]: [sets, resamples, k]."""
    return np.moveaxis(np.moveaxis(rows, 1, 2) @ weights.T, 1, 2)


def true_scores(shape: Shape, effect: float) -> tuple[float, float]:
    """Scores of the two models on a great many units."""
    random = np.random.default_rng([SEED, shape.n, *shape.name.encode()])
    sums = [np.zeros(1), np.zeros(1)]
    for _ in range(TRUE_SETS):
        for place, rows in enumerate(shape.draw(random, 1, TRUE_UNITS, effect)):
            sums[place] = sums[place] + rows[0].sum(axis=0)
    ours, theirs = (float(shape.scores(total)["score"]) for total in sums)
    return ours, theirs


def covers(low: Array, high: Array, true: float) -> Array:
    return (low <= true) & (true <= high)


def percentile(resampled: Array) -> tuple[Array, Array]:
    """Limits of the percentile interval of each data set."""
    low, high = np.quantile(resampled, (0.025, 0.975), axis=1)
    return low, high


def exchange_finds(observed: Array, exchanged: Array) -> Array:
    """Whether the test that exchanges answers finds a difference in each data set."""
    return np.array(
        [p_value(one, of_one, every=False) < ALPHA for one, of_one in zip(observed, exchanged, strict=True)]
    )


def flip_finds(parts: Sequence[Array]) -> Array:
    """Whether the paired test finds a difference in each data set, from what the units of each task add, [sets, n].

    It tries all signs where it does so when comparing, and RESAMPLES random ones otherwise, others in each data set."""
    found = []
    for number, values in enumerate(zip(*parts, strict=True)):
        tasks = [Parts(f"task {place} of {number}", added, len(added)) for place, added in enumerate(values)]
        all_signs = 2 ** sum(int(np.count_nonzero(added)) for added in values) <= statistics.RESAMPLES
        p, _ = sign_flip_test(tasks, statistics.RESAMPLES if all_signs else RESAMPLES)
        found.append(p < ALPHA)
    return np.array(found)


def bca(score: LinearScore, resampled: Array) -> tuple[Array, Array]:
    """Limits of the bias-corrected and accelerated bootstrap (Efron 1987)."""
    normal = NormalDist()
    cumulative, quantile = np.vectorize(normal.cdf), np.vectorize(normal.inv_cdf)
    value = score.value[:, None]
    below = (resampled < value).mean(axis=1) + (resampled == value).mean(axis=1) / 2
    bias = quantile(np.clip(below, 0.001, 0.999))
    squares = np.maximum(np.sum(score.influence**2, axis=1), 1e-30)
    acceleration = np.sum(score.influence**3, axis=1) / (6 * squares**1.5)
    ordered = np.sort(resampled, axis=1)
    ends = []
    for z in (quantile(0.025), quantile(0.975)):
        level = cumulative(bias + (bias + z) / (1 - acceleration * (bias + z)))
        place = np.clip((level * resampled.shape[1]).astype(int), 0, resampled.shape[1] - 1)
        ends.append(ordered[np.arange(len(place)), place])
    return ends[0], ends[1]


def bootstrap_t(score: LinearScore, resampled: Array, weights: Array) -> tuple[Array, Array]:
    """Limits of the studentised bootstrap of the log-odds; each resample's variance is that of its own units. Data sets
    and resamples without a variance have no limits."""
    n = weights.shape[1]
    numerator, size = score.influence + score.value[:, None] * score.share, score.share
    squares, products, sizes = ((numbers * n) @ weights.T / n for numbers in (numerator**2, numerator * size, size**2))
    whole = np.maximum(size @ weights.T, 1e-12)
    found = np.maximum(squares - 2 * resampled * products + resampled**2 * sizes, 0) / whole**2
    value = score.value[:, None]
    with np.errstate(all="ignore"):
        error = np.sqrt(np.sum(score.influence**2, axis=1)) / (score.value * (1 - score.value))
        moved = np.log(resampled / (1 - resampled)) - np.log(value / (1 - value))
        studentised_moves = moved * resampled * (1 - resampled) / np.sqrt(found)
        usable = np.isfinite(studentised_moves).all(axis=1) | (np.isfinite(studentised_moves).mean(axis=1) > 0.5)
        studentised_moves[~usable] = 0
        low, high = np.nanquantile(
            np.where(np.isfinite(studentised_moves), studentised_moves, np.nan), (0.025, 0.975), axis=1
        )
        odds = np.log(score.value / (1 - score.value))
        ends = [1 / (1 + np.exp(-(odds - quantile * error))) for quantile in (high, low)]
    return tuple(np.where(usable & np.isfinite(end), end, np.nan) for end in ends)  # type: ignore[return-value]


Measures = dict[str, Array]
"""Name of a measure -> its value for each data set."""


def of_scores(found: Batch, true: float) -> Measures:
    """Which intervals of the first model's score cover the true one."""
    score, resampled = found.scores[0], found.resampled[0]
    noted = few_carry(score)
    after = covers(*limits(score), true)
    before = percentile(resampled)
    return {
        "interval before": covers(*before, true),
        "interval BCa": covers(*bca(score, resampled), true),
        "interval bootstrap-t": covers(*bootstrap_t(score, resampled, found.weights), true),
        "interval after": after,
        "width before": before[1] - before[0],
        "width after": limits(score)[1] - limits(score)[0],
        "noted": noted,
        "noted that cover": noted & after,
    }


def of_differences(found: Batch, true: float) -> Measures:
    """Which tests find a difference, and which intervals cover the true one."""
    bootstrapped = found.resampled[1] - found.resampled[0]
    terms = [Term(-1, found.scores[0], ""), Term(1, found.scores[1], "")]
    return {
        "found before": exchange_finds(found.difference, found.exchanged),
        "found after": flip_finds([found.parts]),
        "difference before": covers(*percentile(bootstrapped), true),
        "difference after": covers(*combined_limits(terms), true),
    }


def called_detectable(found: Batch, which: str) -> Array:
    """The difference that is or was called detectable, [sets]."""
    if which == "before":
        return np.asarray(2.8016 * (found.resampled[1] - found.resampled[0]).std(axis=1, ddof=1))
    return detectable([Term(-1, found.scores[0], ""), Term(1, found.scores[1], "")])


def of_means(found: list[Batch], true: list[tuple[float, float]]) -> Measures:
    """The same of the mean of several columns, which are made of different units."""
    number = len(found)
    score = sum(ours for ours, _ in true) / number
    difference = sum(theirs - ours for ours, theirs in true) / number
    names = [str(place) for place in range(number)]
    alone = [Term(1 / number, one.scores[0], name) for one, name in zip(found, names, strict=True)]
    both = [
        Term(sign / number, one.scores[side], name)
        for one, name in zip(found, names, strict=True)
        for side, sign in ((0, -1), (1, 1))
    ]
    resampled = [np.mean([one.resampled[side] for one in found], axis=0) for side in (0, 1)]
    observed = np.mean([one.difference for one in found], axis=0)
    exchanged = np.mean([one.exchanged for one in found], axis=0)
    return {
        "interval before": covers(*percentile(resampled[0]), score),
        "interval after": covers(*combined_limits(alone), score),
        "found before": exchange_finds(observed, exchanged),
        "found after": flip_finds([one.parts for one in found]),
        "difference before": covers(*percentile(resampled[1] - resampled[0]), difference),
        "difference after": covers(*combined_limits(both), difference),
    }


Cell = tuple[str, str, int, float]
"""(kind, shape, n, effect)."""


Truth = Mapping[Cell, tuple[float, float]]
"""Cell -> the scores of both models."""


def simulate(cells: list[Cell], truth: Truth, batches: int) -> dict[Cell, dict[str, Array]]:
    """All measures of some cells, [batches] each: their means over a batch."""
    found: defaultdict[Cell, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    mean = next((cell for cell in cells if cell[1] == MEAN), None)
    for number in range(batches):
        columns, true = [], []
        for cell in cells:
            kind, name, n, effect = cell
            if cell == mean:
                measures = of_means(columns, true)
            else:
                shape = SHAPES[name, n]
                one = batch(shape, number, effect)
                ours, theirs = truth[cell]
                measures = of_scores(one, ours) if kind == "null" else {}
                measures |= of_differences(one, theirs - ours)
                if shape in COLUMNS and kind == "null":
                    columns.append(one)
                    true.append(truth[cell])
            for measure, values in measures.items():
                found[cell][measure].append(float(np.mean(values)))
    return {cell: {name: np.array(values) for name, values in measures.items()} for cell, measures in found.items()}


def null_cells() -> list[Cell]:
    """Models with equal scores: the columns, their mean, and the hard shapes."""
    columns: list[Cell] = [("null", shape.name, shape.n, 0.0) for shape in COLUMNS]
    hard: list[Cell] = [("null", shape.name, shape.n, 0.0) for shape in HARD]
    return [*columns, ("null", MEAN, sum(shape.n for shape in COLUMNS), 0.0), *hard]


def power_cells() -> list[Cell]:
    return [("power", name, n, effect) for (name, n), effect in EFFECTS.items()]


def detectable_cells(truth: dict[Cell, tuple[float, float]]) -> Iterator[Cell]:
    """For each shape above the effects that are as large as what was and is called detectable, by two secant steps."""
    for (name, n), first in EFFECTS.items():
        shape = SHAPES[name, n]
        for which in ("before", "after"):
            effect = first
            for _ in range(3):
                ours, theirs = true_scores(shape, effect)
                called = called_detectable(batch(shape, 0, effect), which).mean()
                effect *= float(called) / (theirs - ours)
            cell = (f"detectable {which}", name, n, round(effect, 5))
            truth[cell] = true_scores(shape, cell[3])
            yield cell


def stored() -> list[dict[str, str]]:
    with FILE.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write(results: Mapping[Cell, dict[str, Array]], truth: Truth) -> None:
    """Write one line for each measure of each cell."""
    with FILE.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(
            ["kind", "shape", "n", "effect", "true", "true_other", "measure", "value", "first_tenth", "sets", "seed"]
        )
        for cell, measures in results.items():
            ours, theirs = truth.get(cell, (float("nan"), float("nan")))
            for measure, values in measures.items():
                numbers = f"{ours:.5f}", f"{theirs:.5f}", measure, f"{values.mean():.5f}", f"{values[0]:.5f}"
                writer.writerow([*cell, *numbers, SETS * len(values), SEED])


def run_all() -> None:
    """Simulate everything and store it."""
    truth: dict[Cell, tuple[float, float]] = {}
    cells = [*null_cells(), *power_cells()]
    for cell in cells:
        if cell[1] != MEAN:
            truth[cell] = true_scores(SHAPES[cell[1], cell[2]], cell[3])
    cells += detectable_cells(truth)
    write(simulate(cells, truth, BATCHES), truth)


def repeat() -> list[dict[str, str]]:
    """Simulate a tenth of what is stored; the lines have the repeated value in `again`."""
    lines = stored()
    truth = {_cell(line): (float(line["true"]), float(line["true_other"])) for line in lines}
    results = simulate(list(truth), truth, 1)
    return [line | {"again": f"{results[_cell(line)][line['measure']][0]:.5f}"} for line in lines]


def _cell(line: Mapping[str, str]) -> Cell:
    return line["kind"], line["shape"], int(line["n"]), float(line["effect"])


def _cells(lines: Iterable[Mapping[str, str]], kind: str) -> dict[Cell, dict[str, Mapping[str, str]]]:
    """Cell -> measure -> its line, of the cells of one kind."""
    cells: dict[Cell, dict[str, Mapping[str, str]]] = {}
    for line in lines:
        if line["kind"] == kind:
            cells.setdefault(_cell(line), {})[line["measure"]] = line
    return cells


@dataclass(frozen=True)
class Table:
    """Some measures of one kind of cells."""

    title: str
    kind: str
    measures: tuple[str, ...]
    header: str = ""
    """The first line of the table in docs/statistics.md, if it has one there."""


TABLES = (
    Table(
        "95 % intervals of a score that cover it, those that have a note, and those with and without it that cover it",
        "null",
        (
            "interval before",
            "interval BCa",
            "interval bootstrap-t",
            "interval after",
            "noted",
            "covers if noted",
            "covers if not",
        ),
        "| scores | n | percentile (before) | BCa | bootstrap-t | now | with a note | now, with it | now, without it |",
    ),
    Table(
        "tests at 5 % that find a difference between equal scores, and 95 % intervals of a difference that cover it",
        "null",
        ("found before", "found after", "difference before", "difference after"),
        "| equal scores of | n | found before | found now | interval before | interval now |",
    ),
    Table(
        "tests that find a real difference",
        "power",
        ("found before", "found after"),
        "| a real difference of | n | found before | found now |",
    ),
    Table("tests that find a difference as large as `detectable` was", "detectable before", ("found before",)),
    Table("tests that find a difference as large as `detectable` is", "detectable after", ("found after",)),
)
LEAST_NOTED = 0.01
"""Coverage with a note is that of at least so many of the data sets: 40 of 4,000."""


def percent(found: Mapping[str, Mapping[str, str]], measure: str, field: str = "value") -> str:
    """A measure of a cell in %; empty where it has none."""
    if measure in found:
        return f"{100 * float(found[measure][field]):.1f}"
    if not measure.startswith("covers if") or "noted" not in found:
        return ""
    names = "interval after", "noted", "noted that cover"
    covered, noted, both = (float(found[name][field]) for name in names)
    if measure == "covers if not":
        covered, noted = covered - both, 1 - noted
    else:
        covered = both
    return f"{100 * covered / noted:.1f}" if noted >= LEAST_NOTED else ""


def text_table(lines: Iterable[Mapping[str, str]], of: Table) -> Iterator[str]:
    """Lines of a table: the stored value of each measure in %, and the repeated one."""
    yield f"{'shape':42} {'n':>5} " + " ".join(f"{measure:>22}" for measure in of.measures)
    for (_, name, n, _), found in _cells(lines, of.kind).items():
        again = "again" in next(iter(found.values()))
        shown = (
            percent(found, one) + (f" ({percent(found, one, 'again'):>5})" if again and percent(found, one) else "")
            for one in of.measures
        )
        yield f"{name:42} {n:5} " + " ".join(f"{text:>22}" for text in shown)


def markdown(lines: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Lines of the tables of docs/statistics.md."""
    for of in TABLES:
        if of.header:
            yield from ("", of.header, "|---|" + "---|" * (len(of.measures) + 1))
            for (_, name, n, _), found in _cells(lines, of.kind).items():
                yield f"| {name} | {n:,} | {' | '.join(percent(found, one) for one in of.measures)} |"
    yield from (
        "",
        "| a difference of | n | `detectable` before: points, found | now: points, found |",
        "|---|---|---|---|",
    )
    before = {cell[1:3]: found["found before"] for cell, found in _cells(lines, "detectable before").items()}
    for (_, name, n, _), found in _cells(lines, "detectable after").items():
        parts = [
            f"{100 * (float(line['true_other']) - float(line['true'])):.1f}, {100 * float(line['value']):.1f} %"
            for line in (before[name, n], found["found after"])
        ]
        yield f"| {name} | {n:,} | {' | '.join(parts)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="simulate everything and store it")
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/statistics.md")
    arguments = parser.parse_args()
    if arguments.markdown:
        print("\n".join(markdown(stored())))
        return
    started = time.perf_counter()
    if arguments.all:
        run_all()
    lines = stored() if arguments.all else repeat()
    print(f"commit {machine.git_commit(FILE.parents[1]) or 'unknown'}, {time.perf_counter() - started:.0f} s")
    print(f"{BATCHES * SETS:,} simulations a cell, in brackets the first {SETS} again; in %")
    for of in TABLES:
        print(f"\n{of.title}")
        print("\n".join(text_table(lines, of)))
    if not arguments.all:
        other = [line for line in lines if abs(float(line["again"]) - float(line["first_tenth"])) > 0.0026]
        print(f"\n{len(lines) - len(other)} of {len(lines)} numbers are those stored of the same simulations")


if __name__ == "__main__":
    main()
