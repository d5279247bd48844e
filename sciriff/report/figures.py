"""Draw the report's figures as small inline SVG, coloured by the page's style sheet, so that dark mode works.

Drawn by hand: what a plotting library emits carries styles of its own, which the page's content policy shuts out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from markupsafe import Markup

from sciriff.results.scores import ColumnScore
from sciriff.run.number_format import short

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 36

POINTS = 400
"""Buckets that a longer line is thinned to; each keeps its lowest and its highest point, so no spike is lost."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Figure:
    """One panel: its heading, a sentence with what it shows, and the drawing."""

    title: str
    description: str
    svg: Markup


@dataclass(frozen=True)
class Curve:
    """One curve. `style` is a class of the page; a y that is not finite leaves a gap."""

    style: str
    points: Points


@dataclass(frozen=True)
class Frame:
    """Where values stand in a drawing: from low to high, left to right and bottom to top."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x_at(self, x: float) -> float:
        return LEFT + (x - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y_at(self, y: float) -> float:
        return HEIGHT - BOTTOM - (y - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[str]:
        """Horizontal lines at round values, with their numbers."""
        parts = []
        for tick in ticks(self.y_low, self.y_high):
            y = self.y_at(tick)
            parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(tick_label(LEFT - 7, f"{y + 4:.1f}", "end", short(tick)))
        return parts

    def x_axis(self, labels: Sequence[tuple[float, str]], name: str) -> list[str]:
        """The axis with `labels` (x, text) below it, and what it counts."""
        base, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for value, text in labels:
            x = f"{self.x_at(value):.1f}"
            parts += [f'<path class="axis" d="M{x} {base}v4"/>', tick_label(x, base + 17, "middle", text)]
        return [*parts, f'<path class="axis" d="M{LEFT} {base}H{right}"/>', tick_label(right, HEIGHT - 4, "end", name)]


def tick_label(x: object, y: object, anchor: str, text: str) -> str:
    label = Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>')
    return label.format(x, y, anchor, text)


def svg(style: str, width: int, height: int, title: str, parts: Sequence[str]) -> Markup:
    """A whole drawing; `title` is read to people who do not see it."""
    head = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img"><title>{}</title>')
    return Markup("".join([head.format(style, width, height, title), *parts, "</svg>"]))


def panel(title: str, description: str, lines: list[Curve], marks: list[float], from_zero: bool) -> Figure | None:
    """Curves over optimizer steps, with dotted vertical lines at `marks` (the ends of epochs). None without a point."""
    finite = [point for line in lines for point in line.points if math.isfinite(point[1])]
    if not finite:
        return None
    steps, values = zip(*finite, strict=True)
    x_low, x_high = min(steps), max(steps)
    x_low, x_high = (x_low, x_high) if x_high > x_low else (x_low - 1, x_high + 1)
    y_low, y_high = min(values), max(values)
    y_low = min(y_low, 0.0) if from_zero else y_low
    y_pad = 0.05 * (y_high - y_low) or 0.05 * abs(y_high) or 1.0
    frame = Frame(x_low, x_high, y_low if from_zero else y_low - y_pad, y_high + y_pad)
    whole = [(tick, short(tick)) for tick in ticks(x_low, x_high) if tick == int(tick)]
    inside = [frame.x_at(mark) for mark in marks if x_low < mark < x_high]
    parts = [
        *frame.grid(),
        *(f'<path class="mark" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>' for x in inside),
        *frame.x_axis(whole, "optimizer step"),
        *(f'<path class="{line.style}" d="{_path(frame, thin(line.points))}"/>' for line in lines),
    ]
    return Figure(title, description, svg("panel", WIDTH, HEIGHT, f"{title}. {description}", parts))


def _path(frame: Frame, points: Points) -> str:
    """SVG path data. A point with gaps on both sides becomes a dot: a line of no length with round ends."""
    parts = []
    pen_down = False
    for x, y in points:
        if math.isfinite(y):
            parts.append(f"{'L' if pen_down else 'M'}{frame.x_at(x):.1f} {frame.y_at(y):.1f}{'' if pen_down else 'h0'}")
        pen_down = math.isfinite(y)
    return "".join(parts)


def thin(points: Points) -> Points:
    """At most about 2 * POINTS points that look the same: of each bucket the lowest and the highest, in order."""
    if len(points) <= 2 * POINTS:
        return points
    kept = []
    for bucket in range(POINTS):
        part = points[bucket * len(points) // POINTS : (bucket + 1) * len(points) // POINTS]
        finite = [point for point in part if math.isfinite(point[1])]
        ends = {min(finite, key=itemgetter(1)), max(finite, key=itemgetter(1))} if finite else {part[0]}
        kept += sorted(ends)
    return kept


def trailing_mean(points: Points, window: int) -> Points:
    """At each point the mean of the last `window` finite values; no point before the window is full."""
    finite = [point for point in points if math.isfinite(point[1])]
    if window < 2 or len(finite) < 2 * window:
        return []
    total = math.fsum(y for _, y in finite[:window])
    means = [(finite[window - 1][0], total / window)]
    for place in range(window, len(finite)):
        total += finite[place][1] - finite[place - window][1]
        means.append((finite[place][0], total / window))
    return means


def ticks(low: float, high: float) -> list[float]:
    """Round numbers in [low, high], 1, 2 or 5 times a power of ten apart, as close as eight of them at most allow."""
    power = 10.0 ** math.floor(math.log10((high - low) / 7))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= 7)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def strip(score: ColumnScore | None, others: list[ColumnScore | None]) -> Markup:
    """One column's values on a line from 0 to 100: a dot with its interval, and hollow dots for the runs beside."""
    parts = ['<svg class="strip" viewBox="0 0 208 18" aria-hidden="true">']
    parts += [f'<path class="grid" d="M{4 + 50 * quarter} 2v14"/>' for quarter in range(5)]

    def at(value: float) -> str:
        return f"{4 + 200 * min(max(value, 0.0), 1.0):.1f}"

    parts += [f'<circle class="other" cx="{at(other["value"])}" cy="9" r="3.5"/>' for other in others if other]
    if score is not None:
        if "ci95" in score:
            low, high = score["ci95"]
            parts.append(f'<path class="interval" d="M{at(low)} 9H{at(high)}"/>')
        parts.append(f'<circle class="dot" cx="{at(score["value"])}" cy="9" r="4"/>')
    parts.append("</svg>")
    return Markup("".join(parts))
