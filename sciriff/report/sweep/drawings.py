"""Draw lines with bands and marks with intervals: an ablation, cost against score, and what other figures are made of.

Lines differ in colour, dash and marker, so that each of these alone tells them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sciriff.report.figures import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Figure, Frame, ticks
from sciriff.run.number_format import short
from sciriff.run.visible import shortened, visible

STYLES = 6
"""Lines that the style sheet has colours and dashes for."""
MARKERS = (
    "M{x} {y}m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M{x} {y}m-4-4h8v8h-8z",
    "M{x} {y}m0-5l5 8.6h-10z",
    "M{x} {y}m0-5.5l5 5.5l-5 5.5l-5-5.5z",
    "M{x} {y}m0 5l5-8.6h-10z",
    "M{x} {y}m-1.6-5h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",
)
"""A circle, a square, a triangle, a diamond, a triangle upside down, a cross; of about the same weight."""
UNTRAINED = STYLES
"""Style of a model that was not trained: a star."""
LONGEST = 40
"""Characters of a name on an axis."""
STAR = "M{x} {y}m0-7l1.8 4.6 4.9.3-3.8 3.1 1.3 4.8-4.2-2.7-4.2 2.7 1.3-4.8-3.8-3.1 4.9-.3z"


@dataclass(frozen=True)
class Point:
    """A score in points of 100 with its 95 % interval. `x` is the place of a cap, or a cost; the baseline has none."""

    y: float
    limits: tuple[float, float] | None
    x: float = 0.0
    name: str = ""
    """Shown before the value to a pointer that rests on it."""
    tag: str = ""
    """What stands beside it."""
    x_limits: tuple[float, float] | None = None
    """95 % interval to the sides, where x is a score, too."""

    def __str__(self) -> str:
        """`46.5 (41.0 to 51.2)`."""
        return f"{self.y:.1f}" + (f" ({self.limits[0]:.1f} to {self.limits[1]:.1f})" if self.limits else "")


@dataclass(frozen=True)
class Series:
    """Points of one style (below STYLES, or UNTRAINED), `joined` by a line and with a `banded` interval, or each
    for itself."""

    label: str
    style: int
    points: list[Point]
    joined: bool = True
    banded: bool = True


def ablation(key: str, title: str, caps: list[str], series: list[Series], baseline: Point | None) -> Figure | None:
    """A score over the caps of the mix, evenly spaced. None without a point. `key` begins its ids."""
    if not any(line.points for line in series):
        return None
    frame = Frame(-0.35, len(caps) - 0.65, *_heights(series, baseline))
    labels = [(float(place), f"{int(cap):,}" if cap.isdecimal() else cap) for place, cap in enumerate(caps)]
    return _drawn(key, title, frame, labels, "instances per task", series, baseline)


def merge_curve(key: str, title: str, first: str, series: list[Series], baseline: Point | None) -> Figure | None:
    """A score over the share of the model `first`, in %. None without a point."""
    if not any(line.points for line in series):
        return None
    frame = Frame(-4.0, 104.0, *_heights(series, baseline))
    labels = [(float(share), f"{share} %") for share in (0, 25, 50, 75, 100)]
    return _drawn(key, title, frame, labels, f"share of {visible(shortened(first, LONGEST))}", series, baseline)


def cost_against_score(key: str, title: str, unit: str, series: list[Series], baseline: Point | None) -> Figure | None:
    """The mean over a cost, from 0. None where no run has that cost."""
    highest = max((point.x for line in series for point in line.points), default=0.0)
    if not highest > 0:
        return None
    frame = Frame(0.0, 1.08 * highest, *_heights(series, baseline))
    labels = [(tick, short(tick)) for tick in ticks(0.0, frame.x_high)]
    return _drawn(key, title, frame, labels, unit, series, baseline)


def swatch(style: int | None) -> Markup:
    """The sign of a line in the legend; None is the baseline."""
    if style is None:
        parts = '<path class="rule-band" d="M0 3H40V13H0z"/><path class="rule" d="M0 8H40"/>'
    else:
        line = f'<path class="line s{style}" d="M2 8H38"/>' if style != UNTRAINED else ""
        parts = f'{line}<path class="marker s{style}" d="{_marker(style, "20", "8")}"/>'
    return Markup(f'<svg class="swatch" viewBox="0 0 40 16" aria-hidden="true">{parts}</svg>')


def _heights(series: list[Series], baseline: Point | None) -> tuple[float, float]:
    """What the vertical axis spans, so that every interval is on it."""
    points = [point for line in series for point in line.points] + ([baseline] if baseline else [])
    return span([y for point in points for y in (point.y, *(point.limits or ()))])


def span(values: Sequence[float]) -> tuple[float, float]:
    """What an axis spans, so that these values of a score are on it."""
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 1.0
    return max(low - pad, min(0.0, low)), high + pad


def told(line: Series) -> str:
    """The points of a series in words."""
    values = [f"{point.name} {point}" for point in line.points]
    return f"{line.label}: {'; '.join(values)}." if values else ""


def head(key: str, title: str, texts: Sequence[str]) -> list[str]:
    """The beginning of a drawing with its title, and with what it shows for people who do not see it."""
    return [
        f'<svg class="panel" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{key}-title {key}-told">',
        Markup('<title id="{}-title">{}</title>').format(key, visible(title)),
        Markup('<desc id="{}-told">{}</desc>').format(key, visible(" ".join(texts))),
    ]


def _drawn(
    key: str,
    title: str,
    frame: Frame,
    labels: list[tuple[float, str]],
    unit: str,
    series: list[Series],
    baseline: Point | None,
) -> Figure:
    parts = [
        *head(key, title, [*([f"Baseline {baseline}."] if baseline else []), *map(told, series)]),
        *frame.grid(),
        *(_rule(frame, baseline) if baseline else ()),
        *(_band(frame, line) for line in series),
        *frame.x_axis([(x, visible(text)) for x, text in labels], unit),
        *(part for line in series for part in marks(frame, line)),
        "</svg>",
    ]
    return Figure(title, "", Markup("".join(parts)))


def _rule(frame: Frame, baseline: Point) -> list[str]:
    parts = [f'<path class="rule" d="M{LEFT} {frame.y_at(baseline.y):.1f}H{WIDTH - RIGHT}"/>']
    if baseline.limits:
        low, high = map(frame.y_at, baseline.limits)
        parts.insert(0, f'<path class="rule-band" d="M{LEFT} {high:.1f}H{WIDTH - RIGHT}V{low:.1f}H{LEFT}z"/>')
    return parts


def _band(frame: Frame, line: Series) -> str:
    """The intervals of a joined line's points as one area, if all have one and there are two; else empty."""
    limits = [(frame.x_at(point.x), *map(frame.y_at, point.limits)) for point in line.points if point.limits]
    if not (line.joined and line.banded) or len(limits) < max(2, len(line.points)):
        return ""
    edge = [f"{x:.1f} {high:.1f}" for x, _, high in limits] + [f"{x:.1f} {low:.1f}" for x, low, _ in reversed(limits)]
    return f'<path class="band s{line.style}" d="M{"L".join(edge)}z"/>'


def _marker(style: int, x: str, y: str) -> str:
    return (STAR if style == UNTRAINED else MARKERS[style]).format(x=x, y=y)


def marks(frame: Frame, line: Series) -> list[str]:
    """The line, the intervals of points that no band shows, and the points themselves."""
    parts: list[str] = []
    places = [(frame.x_at(point.x), frame.y_at(point.y)) for point in line.points]
    if line.joined and len(places) > 1:
        parts.append(f'<path class="line s{line.style}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>')
    banded = bool(_band(frame, line))
    for point, (x, y) in zip(line.points, places, strict=True):
        if point.limits and not banded:
            low, high = map(frame.y_at, point.limits)
            parts.append(f'<path class="whisker s{line.style}" d="M{x:.1f} {high:.1f}V{low:.1f}"/>')
        if point.x_limits:
            left_end, right_end = map(frame.x_at, point.x_limits)
            parts.append(f'<path class="whisker s{line.style}" d="M{left_end:.1f} {y:.1f}H{right_end:.1f}"/>')
        marker = _marker(line.style, f"{x:.1f}", f"{y:.1f}")
        element = Markup('<path class="marker s{}" d="{}"><title>{}</title></path>')
        parts.append(element.format(line.style, marker, visible(f"{line.label}, {point.name}: {point}")))
        if point.tag:
            left = x > WIDTH - RIGHT - 30
            anchor = Markup(' text-anchor="end"' if left else "")
            height = max(y - 7, 12.0) if y < HEIGHT - BOTTOM else y - 7
            tag = Markup('<text class="tag" x="{}" y="{}"{}>{}</text>')
            parts.append(tag.format(f"{x - 7 if left else x + 7:.1f}", f"{height:.1f}", anchor, visible(point.tag)))
    return parts
