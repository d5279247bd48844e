"""Simulate what it changes to resample documents and not instances, on the real numbers of instances a document.

python benchmarks/clusters.py            # the table of docs/statistics.md
python benchmarks/clusters.py --tenth    # a tenth of the simulations

Answers are right or wrong. Two answers about one document have a correlation of RHO, any others none. An interval by
document should have the true share right in it in 95 % of simulations, whatever the correlation is.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from sciriff.results.linear_scores import Array, LinearScore, linear_scores
from sciriff.results.score_intervals import Term, combined_limits, limits

SIMULATIONS = 4000
CELLS = 1 << 21
"""Answers that are held at a time."""
SEED = 16
RIGHT = 0.6
RHOS = (0.0, 0.3, 0.7)
TASKS: dict[str, dict[int, int]] = {
    "SciFact": {1: 149, 2: 16, 3: 1},
    "Qasper": {1: 75, 2: 9, 3: 3},
    "MultiCite": {1: 1973, 2: 168, 3: 21, 4: 8, 5: 1, 6: 1, 7: 2, 8: 1, 10: 1},
    "DiSCoMaT": {1: 492, 2: 4},
    "DiSCoMaT, by its papers": {1: 124, 2: 58, 3: 35, 4: 19, 5: 8, 6: 4, 7: 1, 8: 1},
    "5 questions on each of 40": {5: 40},
    "5 questions on each of 20": {5: 20},
}
"""Name -> instances about a document -> documents with so many. Counted in the validation splits at hand: of Qasper 102
of 107 instances, of DiSCoMaT the 500 tables before long ones are left out. Its papers are no part of its prompts."""


def answers(random: np.random.Generator, places: np.ndarray, documents: int, rho: float, count: int) -> Array:
    """Whether each of n answers is right, [count, n]. An answer is that of its document with chance sqrt(rho)."""
    shape = (count, len(places))
    shared = random.random((count, documents)) < RIGHT
    own = random.random(shape) < RIGHT
    return np.where(random.random(shape) < rho**0.5, shared[:, places], own).astype(float)


def scored(right: Array, starts: Array | None) -> LinearScore:
    """The share right in each simulation, with a unit for each instance, or from each of `starts` to the next."""
    rows = np.stack([right, np.ones_like(right)], axis=-1)
    units = rows if starts is None else np.add.reduceat(rows, starts, axis=1)
    return linear_scores(lambda sums: {"right": sums[..., 0] / sums[..., 1]}, units)["right"]


def simulated(sizes: dict[int, int], rho: float, simulations: int) -> Array:
    """By instance and by document, [2, 3]: share of intervals with the true share in them, their mean width, and the
    share of intervals of the difference of two such runs with 0 in them."""
    counts = np.repeat([*sizes], [*sizes.values()])
    places, starts = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts) - counts
    random = np.random.default_rng([SEED, len(places), len(counts), int(1000 * rho)])
    total = np.zeros((2, 3))
    for count in _chunks(simulations, len(places)):
        runs = [answers(random, places, len(counts), rho, count) for _ in range(2)]
        for row, units in enumerate((None, starts)):
            one, other = (scored(right, units) for right in runs)
            low, high = limits(one)
            below, above = combined_limits([Term(-1, one, "task"), Term(1, other, "task")])
            found = ((low <= RIGHT) & (high >= RIGHT), high - low, (below <= 0) & (above >= 0))
            total[row] += [float(values.sum()) for values in found]
    return total / simulations


def _chunks(simulations: int, n: int) -> Iterator[int]:
    step = max(1, CELLS // n)
    for first in range(0, simulations, step):
        yield min(step, simulations - first)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tenth", action="store_true", help="a tenth of the simulations")
    simulations = SIMULATIONS // 10 if parser.parse_args().tenth else SIMULATIONS
    print(f"{simulations:,} simulations a row, seed {SEED}; covered: one run / the difference of two, in %")
    print("| instances about documents | n | documents | correlation | covered by instance | by document | width |")
    print("|---|---|---|---|---|---|---|")
    for name, sizes in TASKS.items():
        n, documents = sum(size * count for size, count in sizes.items()), sum(sizes.values())
        for rho in RHOS:
            by_instance, by_document = simulated(sizes, rho, simulations)
            covered = [f"{100 * row[0]:.1f} / {100 * row[2]:.1f}" for row in (by_instance, by_document)]
            wider = f"{100 * by_instance[1]:.1f} -> {100 * by_document[1]:.1f}"
            print(f"| {name} | {n:,} | {documents:,} | {rho:g} | {covered[0]} | {covered[1]} | {wider} |", flush=True)


if __name__ == "__main__":
    main()
