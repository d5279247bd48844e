"""What metrics.jsonl says of a training run: its curves, and its totals in words."""

import math
from itertools import pairwise
from statistics import fmean, median

from sciriff.data.training_metrics import HALVES, TASK, TASK_MEAN, MetricsRow, series, task_columns, total
from sciriff.report.figures import Curve, Figure, Points, panel, trailing_mean
from sciriff.run.number_format import duration


def points_and_means(rows: list[MetricsRow], key: str) -> tuple[Points, Points]:
    """(step, value) of the rows that have `key`, and their trailing means; no means of short runs."""
    points = series(rows, key)
    return points, trailing_mean(points, _window(rows))


def _window(rows: list[MetricsRow]) -> int:
    return max(len(rows) // 50, 1)


def curves(rows: list[MetricsRow]) -> list[Figure]:
    """Loss, learning rate, tokens a second and gradient norm, as far as the rows have them."""
    # The steps with which an epoch ends: `epoch` counts the passes over the mix, fractions included.
    epochs = pairwise(series(rows, "epoch"))
    marks: list[float] = [step for (_, before), (step, after) in epochs if math.floor(before) < math.floor(after)]
    ended = " Dotted lines are the ends of epochs." if marks else ""
    drawn = []
    for title, key, text, from_zero, smooth in (
        ("Training loss", "loss", "Nats per target token.", False, True),
        ("Learning rate", "lr", "", True, False),
        ("Throughput", "tokens_per_second", "Target tokens a second, over all processes.", True, True),
        ("Gradient norm", "grad_norm", "Before clipping.", True, True),
    ):
        points, means = points_and_means(rows, key)
        lines = [Curve("curve", points)]
        if smooth and means:
            text += f" Thin: each step; bold: the mean of the last {_window(rows)}."
            lines = [Curve("each", points), Curve("curve", means)]
        drawn.append(panel(title, (text + ended).strip(), lines, marks, from_zero))
        if key == "loss":
            drawn += [_validation_panel(rows, marks, ended), _tasks_panel(rows, marks, ended)]
    return [figure for figure in drawn if figure]


def _validation_panel(rows: list[MetricsRow], marks: list[float], ended: str) -> Figure | None:
    """The losses on rows that are not trained on, science and general ones in one panel."""
    lines, legend = [], []
    for half, style, looks in zip(HALVES, ("curve", "curve second"), ("solid", "dashed"), strict=True):
        if points := series(rows, f"validation_{half}_loss"):
            lines.append(Curve(style, points))
            legend.append(f"{looks}: {half} rows")
    text = f"Nats per target token of rows that are not trained on; {', '.join(legend)}."
    return panel("Validation loss", text + ended, lines, marks, from_zero=False)


def _tasks_panel(rows: list[MetricsRow], marks: list[float], ended: str) -> Figure | None:
    """The mean of the tasks' scores by which the best model is chosen, and thin the score of each."""
    columns = task_columns(rows)
    lines = [Curve("each", points) for name in columns if (points := series(rows, f"{TASK}{name}"))]
    lines += [Curve("curve", points)] if (points := series(rows, TASK_MEAN)) else []
    text = f"0 to 1, on the prompts that the best model is chosen by. Bold: the mean of {len(columns)}; thin: each."
    return panel("Scores of the tasks", text + ended, lines, marks, from_zero=True) if lines else None


def totals(rows: list[MetricsRow]) -> list[tuple[str, str]]:
    """(what, how much) of the whole training."""
    if not rows:
        return []
    step, planned = rows[-1]["step"], rows[-1].get("steps")
    facts = [("Optimizer steps", f"{step:,}" + (f" of {planned:,} planned" if planned not in (None, step) else ""))]
    finite = _finite(rows, "loss")
    if finite:
        tail = finite[-max(len(finite) // 50, 1) :]
        of = f"mean of the last {len(tail)} steps" if len(tail) > 1 else "last step"
        facts.append(("Loss", f"{finite[0]:.4f} at first, {fmean(tail):.4f} at the end ({of})"))
    for half in HALVES:
        facts += _validation_fact(half, series(rows, f"validation_{half}_loss"))
    facts += _tasks_fact(series(rows, TASK_MEAN))
    if broken := len(series(rows, "loss")) - len(finite):
        facts.append(("Steps whose loss is not a number", f"{broken:,}"))
    tokens, targets, seconds = (total(rows, key) for key in ("tokens", "target_tokens", "seconds"))
    if tokens:
        of_them = f", {targets:,.0f} of them targets ({targets / tokens:.0%})" if targets else ""
        facts.append(("Tokens", f"{tokens:,.0f}{of_them}"))
    if seconds:
        rate = f": {tokens / seconds:,.0f} tokens a second" if tokens else ""
        target_rate = f", {targets / seconds:,.0f} of them targets" if targets else ""
        facts.append(("Time in steps", f"{duration(seconds)}{rate}{target_rate}"))
    for name, key, form in (
        ("MFU", "mfu", "{:.1%} (median of steps)"),
        ("Packing", "packing_efficiency", "{:.1%} of the micro-batches' room (median of steps)"),
        ("Gradient norm", "grad_norm", "{:.2f} (median of steps)"),
    ):
        if values := _finite(rows, key):
            facts.append((name, form.format(median(values))))
    if (peak := max(_finite(rows, "memory"), default=0.0)) > 0:
        facts.append(("Peak GPU memory of the first process", f"{peak:.1f} GiB"))
    return facts


def _finite(rows: list[MetricsRow], key: str) -> list[float]:
    return [value for _, value in series(rows, key) if math.isfinite(value)]


def _tasks_fact(points: Points) -> list[tuple[str, str]]:
    """Highest and last mean of the tasks' scores."""
    if not points:
        return []
    step, mean = max(points, key=lambda point: (point[1], -point[0]))
    return [("Mean of the tasks", f"{mean:.4f} after step {step:,}, the highest; {points[-1][1]:.4f} at the end")]


def _validation_fact(half: str, points: Points) -> list[tuple[str, str]]:
    """First, last and lowest loss on one half of the validation rows."""
    finite = [(step, loss) for step, loss in points if math.isfinite(loss)]
    if not finite:
        return []
    best = min(finite, key=lambda point: (point[1], point[0]))

    def measured(step: float, loss: float) -> str:
        return f"{loss:.4f} " + (f"after step {step:,}" if step else "before training")

    text = ", ".join(measured(*point) for point in dict.fromkeys([finite[0], finite[-1]]))
    if best[1] < finite[-1][1]:
        text += f", lowest {measured(*best)}"
    return [(f"Validation loss, {half} rows", text)]
