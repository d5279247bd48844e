"""The report's figures for papers, PNG and PDF in figures/ of a run folder, drawn with matplotlib.

The page has its own drawings, which follow its theme; these are for print: a column wide, with fonts that editors can
embed, and with the colours of Okabe and Ito, markers and dashes that a reader can tell apart without seeing colour.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sciriff.data.mix_card import MixCard
from sciriff.data.training_metrics import MetricsRow
from sciriff.report.figures import Points
from sciriff.report.mix_card import datasets, tokens
from sciriff.report.run_scores import RunScores, held_out_in, titles
from sciriff.report.training import points_and_means
from sciriff.results.scores import ColumnScore, general_and_mean
from sciriff.run.number_format import short
from sciriff.run.visible import visible

WIDTH = 3.5
"""Inches: a column of the usual two-column styles."""
DOTS_PER_INCH = 300
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^DvP*"
LARGEST = 20
"""Datasets of the mix that have a bar of their own."""
STYLE: dict[str, Any] = {
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.linewidth": 0.4,
    "grid.color": "#d6d9dc",
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "text.parse_math": False,
}
"""Type 42 fonts are those that conferences accept; names may hold a dollar sign, which is no formula."""


def write_figures(folder: Path, runs: list[RunScores], metrics: list[MetricsRow], mix: MixCard | None) -> None:
    """Draw what there is data for: scores of all runs, the training of the first, its mix. Same data, same bytes."""
    from matplotlib import rc_context

    folder.mkdir(exist_ok=True)
    with rc_context(STYLE):
        figures = {
            "scores": _scores(runs) if any(run.columns for run in runs) else None,
            "general": _general(runs) if general_and_mean(runs[0].scores.get("general")) else None,
            "training": _training(metrics) if any("loss" in row for row in metrics) else None,
            "mix": _mix(mix) if mix is not None and mix["by_dataset"] else None,
        }
        for name, figure in figures.items():
            if figure is not None:
                figure.savefig(folder / f"{name}.png", dpi=DOTS_PER_INCH, metadata={"Software": None})
                figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})


def _new(height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def _scores(runs: list[RunScores]) -> Any:
    """Every column that a run has, from the top in the paper's order, with 95 % intervals."""
    names = titles(held_out_in(runs))
    return _dots(names, [(run.name, run.columns) for run in runs])


def _general(runs: list[RunScores]) -> Any:
    """Every general task that a run has and the mean of its tasks, with 95 % intervals."""
    scores = [(run.name, general_and_mean(run.scores.get("general"))) for run in runs if "general" in run.scores]
    names = {name: visible(name)[:60] for _, of_run in scores for name in of_run if name != "mean"}
    return _dots(names | {"mean": "mean"}, scores)


def _dots(names: Mapping[str, str], runs: Sequence[tuple[str, Mapping[str, ColumnScore]]]) -> Any:
    """Scores of several runs, a line for each of `names` that a run has, with 95 % intervals."""
    columns = [column for column in names if any(column in scores for _, scores in runs)]
    figure = _new(0.5 + 0.26 * len(columns) + 0.12 * len(runs))
    axes = figure.subplots()
    axes.grid(axis="x")
    for place, (name, scores) in enumerate(runs):
        shift = 0.5 * ((place + 0.5) / len(runs) - 0.5)
        known = [(at + shift, scores[column]) for at, column in enumerate(columns) if column in scores]
        values = [100 * score["value"] for _, score in known]
        limits = [(score["value"], score.get("ci95", (score["value"],) * 2)) for _, score in known]
        below = [max(100 * (value - low), 0.0) for value, (low, _) in limits]
        above = [max(100 * (high - value), 0.0) for value, (_, high) in limits]
        axes.errorbar(
            values,
            [at for at, _ in known],
            xerr=[below, above],
            fmt=MARKERS[place % len(MARKERS)],
            color=COLOURS[place % len(COLOURS)],
            markersize=3.5,
            elinewidth=0.9,
            label=visible(name),
        )
    axes.set_yticks(range(len(columns)), [names[column] for column in columns])
    axes.set_ylim(len(columns) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("score (95 % interval)")
    if len(runs) > 1:
        figure.legend(loc="outside upper center", ncols=min(len(runs), 3))
    return figure


def _training(metrics: list[MetricsRow]) -> Any:
    """Loss (with the validation losses, where there are some), learning rate, gradient norm."""
    figure = _new(3.6)
    upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))

    for axes, key, smooth, label, colour, dashes in (
        (upper, "loss", True, "training", 0, "-"),
        (upper, "validation_science_loss", False, "validation, science", 1, "--"),
        (upper, "validation_general_loss", False, "validation, general", 2, ":"),
        (middle, "lr", False, "", 0, "-"),
        (lower, "grad_norm", True, "", 0, "-"),
    ):
        points, means = points_and_means(metrics, key)
        if smooth and means:
            axes.plot(*_coordinates(points), color=COLOURS[5], linewidth=0.4)
            points = means
        if points:
            axes.plot(*_coordinates(points), color=COLOURS[colour], linewidth=1.0, label=label, linestyle=dashes)
    for axes, name in ((upper, "loss (nats)"), (middle, "learning rate"), (lower, "gradient norm")):
        axes.set_ylabel(name)
        axes.grid(axis="y")
    lower.set_xlabel("optimizer step")
    if len(upper.get_legend_handles_labels()[1]) > 1:
        upper.legend()
    return figure


def _coordinates(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y if math.isfinite(y) else math.nan for _, y in points]


def _mix(mix: MixCard) -> Any:
    """The tokens of the largest datasets, and of the others together."""
    sizes = [(visible(name)[:60], tokens(part)) for name, part in datasets(mix)]
    bars, rest = sizes[:LARGEST], sizes[LARGEST:]
    if rest:
        bars.append((f"{len(rest)} more", sum(size for _, size in rest)))
    figure = _new(0.6 + 0.16 * len(bars))
    axes = figure.subplots()
    axes.barh(range(len(bars)), [size for _, size in bars], color=COLOURS[0], height=0.65)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlabel("tokens")
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    return figure
