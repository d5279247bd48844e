"""What metrics.jsonl says of a training run: its curves, and its totals in words."""

import math
from itertools import pairwise
from statistics import fmean, median

from sciriff.data.training_metrics import MetricsRow, series, total
from sciriff.report.figures import Curve, Figure, Points, panel, trailing_mean
from sciriff.run.number_format import duration


def _window(rows: list[MetricsRow]) -> int:
    return max(len(rows) // 50, 1)


def points_and_means(rows: list[MetricsRow], key: str) -> tuple[Points, Points]:
    """(step, value) of the rows that have `key`, and their trailing means; no means of short runs."""
    points = series(rows, key)
    return points, trailing_mean(points, _window(rows))


def curves(rows: list[MetricsRow]) -> list[Figure]:
    """Loss, learning rate, tokens a second and gradient norm, as far as the rows have them."""
    marks = _epoch_ends(rows)
    ended = " Dotted lines are the ends of epochs." if marks else ""
    window = _window(rows)
    found = []
    for title, key, unit, from_zero, smooth in (
        ("Training loss", "loss", "nats per target token", False, True),
        ("Learning rate", "lr", "", True, False),
        ("Throughput", "tokens_per_second", "target tokens a second, over all processes", True, True),
        ("Gradient norm", "grad_norm", "before clipping", True, True),
    ):
        points, means = points_and_means(rows, key)
        means = means if smooth else []
        text = unit[:1].upper() + unit[1:] + "." if unit else ""
        if means:
            text += f" Thin: each step; bold: the mean of the last {window}."
        lines = [Curve("each" if means else "curve", points)]
        lines += [Curve("curve", means)] if means else []
        figure = panel(title, (text + ended).strip(), lines, marks, from_zero)
        found += [figure] if figure else []
    if validation := _validation_panel(rows, marks, ended):
        found.insert(1 if found and found[0].title == "Training loss" else 0, validation)
    return found


def _validation_panel(rows: list[MetricsRow], marks: list[float], ended: str) -> Figure | None:
    """The losses on rows that are not trained on, science and general ones in one panel."""
    lines, told = [], []
    for half, style, looks in (("science", "curve", "solid"), ("general", "curve second", "dashed")):
        if points := series(rows, f"validation_{half}_loss"):
            lines.append(Curve(style, points))
            told.append(f"{looks}: {half} rows")
    text = f"Nats per target token of rows that are not trained on; {', '.join(told)}."
    return panel("Validation loss", text + ended, lines, marks, from_zero=False)


def _epoch_ends(rows: list[MetricsRow]) -> list[float]:
    """The steps with which an epoch ends: `epoch` counts the passes over the mix, fractions included."""
    epochs = series(rows, "epoch")
    return [step for (_, before), (step, after) in pairwise(epochs) if math.floor(before) < math.floor(after)]


def totals(rows: list[MetricsRow]) -> list[tuple[str, str]]:
    """(what, how much) of the whole training."""
    if not rows:
        return []
    facts = [("Optimizer steps", f"{rows[-1]['step']:,}" + _of_planned(rows[-1]))]
    losses = [y for _, y in series(rows, "loss")]
    finite = [loss for loss in losses if math.isfinite(loss)]
    if finite:
        tail = finite[-max(len(finite) // 50, 1) :]
        of = f"mean of the last {len(tail)} steps" if len(tail) > 1 else "last step"
        facts.append(("Loss", f"{finite[0]:.4f} at first, {fmean(tail):.4f} at the end ({of})"))
    for half in ("science", "general"):
        facts += _validation_fact(half, series(rows, f"validation_{half}_loss"))
    if len(finite) < len(losses):
        facts.append(("Steps whose loss is not a number", f"{len(losses) - len(finite):,}"))
    tokens, targets = total(rows, "tokens"), total(rows, "target_tokens")
    if tokens:
        of_them = f", {targets:,.0f} of them targets ({targets / tokens:.0%})" if targets else ""
        facts.append(("Tokens", f"{tokens:,.0f}{of_them}"))
    seconds = total(rows, "seconds")
    if seconds:
        rate = f"{tokens / seconds:,.0f} tokens a second" if tokens else ""
        target_rate = f", {targets / seconds:,.0f} of them targets" if targets else ""
        facts.append(("Time in steps", f"{duration(seconds)}{': ' if rate else ''}{rate}{target_rate}"))
    for name, key, form in (
        ("MFU", "mfu", "{:.1%} (median of steps)"),
        ("Packing", "packing_efficiency", "{:.1%} of the micro-batches' room (median of steps)"),
        ("Gradient norm", "grad_norm", "{:.2f} (median of steps)"),
    ):
        values = [y for _, y in series(rows, key) if math.isfinite(y)]
        if values:
            facts.append((name, form.format(median(values))))
    memory = [y for _, y in series(rows, "memory") if math.isfinite(y)]
    if memory and max(memory) > 0:
        facts.append(("Peak GPU memory of the first process", f"{max(memory):.1f} GiB"))
    return facts


def _validation_fact(half: str, points: Points) -> list[tuple[str, str]]:
    """First, last and lowest loss on one half of the validation rows."""
    finite = [(step, loss) for step, loss in points if math.isfinite(loss)]
    if not finite:
        return []
    best_step, best = min(finite, key=lambda point: (point[1], point[0]))

    def when(step: float) -> str:
        return f"after step {step:,}" if step else "before training"

    text = ", ".join(f"{loss:.4f} {when(step)}" for step, loss in dict.fromkeys([finite[0], finite[-1]]))
    if best < finite[-1][1]:
        text += f", lowest {best:.4f} {when(best_step)}"
    return [(f"Validation loss, {half} rows", text)]


def _of_planned(row: MetricsRow) -> str:
    steps = row.get("steps")
    return f" of {steps:,} planned" if steps is not None and steps != row["step"] else ""
