"""Draw an ablation's lines with bands, and cost against score, in the manner of `sciriff.report.figures`.

A line is told from the others by colour, dash and marker, so by any of them alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sciriff.report.figures import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Figure, Frame, ticks
from sciriff.run.number_format import short
from sciriff.run.visible import visible

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


@dataclass(frozen=True)
class Point:
    """A score in points of 100 with its 95 % interval. `x` is the place of a cap, or a cost."""

    x: float
    y: float
    limits: tuple[float, float] | None
    name: str
    """What a pointer resting on it is told, before the value."""
    tag: str = ""
    """What stands beside it."""


@dataclass(frozen=True)
class Series:
    """Points of one style, a number below STYLES; `joined` by a line with a band, else each for itself."""

    label: str
    style: int
    points: list[Point]
    joined: bool = True


@dataclass(frozen=True)
class Rule:
    """The baseline: its score in points of 100, and its interval."""

    y: float
    limits: tuple[float, float] | None


def ablation(key: str, title: str, caps: Sequence[str], series: Sequence[Series], rule: Rule | None) -> Figure | None:
    """A score over the caps of the mix, evenly spaced. None without a point. `key` begins its ids."""
    if not any(one.points for one in series):
        return None
    frame = Frame(-0.35, len(caps) - 0.65, *_heights(series, rule))
    labels = [(float(place), _cap_label(cap)) for place, cap in enumerate(caps)]
    return _drawn(key, title, frame, labels, "instances per task", series, rule)


def cost_against_score(key: str, title: str, unit: str, series: Sequence[Series], rule: Rule | None) -> Figure | None:
    """The mean over a cost, from 0. None where no run has that cost."""
    highest = max((point.x for one in series for point in one.points), default=0.0)
    if not highest > 0:
        return None
    frame = Frame(0.0, 1.08 * highest, *_heights(series, rule))
    labels = [(tick, short(tick)) for tick in ticks(0.0, frame.x_high)]
    return _drawn(key, title, frame, labels, unit, series, rule)


def swatch(style: int) -> Markup:
    """A line's sign in the legend."""
    marker = MARKERS[style].format(x=20, y=8)
    return Markup(
        f'<svg class="swatch" viewBox="0 0 40 16" aria-hidden="true"><path class="line s{style}" d="M2 8H38"/>'
        f'<path class="marker s{style}" d="{marker}"/></svg>'
    )


def rule_swatch() -> Markup:
    """The baseline's sign in the legend."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 40 16" aria-hidden="true"><path class="rule-band" d="M0 3H40V13H0z"/>'
        '<path class="rule" d="M0 8H40"/></svg>'
    )


def value_text(y: float, limits: tuple[float, float] | None) -> str:
    """`46.5 (41.0 to 51.2)`, in points of 100."""
    return f"{y:.1f}" + (f" ({limits[0]:.1f} to {limits[1]:.1f})" if limits else "")


def _heights(series: Sequence[Series], rule: Rule | None) -> tuple[float, float]:
    """What the vertical axis spans, so that every interval is on it."""
    marks: list[Point | Rule] = [point for one in series for point in one.points]
    marks += [rule] if rule else []
    heights = [y for mark in marks for y in (mark.y, *(mark.limits or ()))]
    low, high = min(heights), max(heights)
    pad = 0.06 * (high - low) or 1.0
    return max(low - pad, min(0.0, low)), high + pad


def _drawn(
    key: str,
    title: str,
    frame: Frame,
    labels: list[tuple[float, str]],
    unit: str,
    series: Sequence[Series],
    rule: Rule | None,
) -> Figure:
    told = [f"Baseline {value_text(rule.y, rule.limits)}."] if rule else []
    for one in series:
        values = [f"{point.name} {value_text(point.y, point.limits)}" for point in one.points]
        told.append(f"{one.label}: {'; '.join(values)}." if values else "")
    parts = [
        f'<svg class="panel" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{key}-title {key}-told">',
        Markup('<title id="{}-title">{}</title>').format(key, visible(title)),
        Markup('<desc id="{}-told">{}</desc>').format(key, visible(" ".join(told))),
        *frame.grid(),
        *_rule(frame, rule),
        *(part for one in series if one.joined for part in _band(frame, one)),
        *frame.x_axis([(x, visible(text)) for x, text in labels], unit),
        *(part for one in series for part in _marks(frame, one)),
        "</svg>",
    ]
    return Figure(title, "", Markup("".join(parts)))


def _rule(frame: Frame, rule: Rule | None) -> list[str]:
    if rule is None:
        return []
    parts = [f'<path class="rule" d="M{LEFT} {frame.y_at(rule.y):.1f}H{WIDTH - RIGHT}"/>']
    if rule.limits:
        low, high = (frame.y_at(limit) for limit in rule.limits)
        parts.insert(0, f'<path class="rule-band" d="M{LEFT} {high:.1f}H{WIDTH - RIGHT}V{low:.1f}H{LEFT}z"/>')
    return parts


def _band(frame: Frame, one: Series) -> list[str]:
    """The intervals of a line's points as one area, where all have one and there are two."""
    limits = [(point.x, *point.limits) for point in one.points if point.limits]
    if len(limits) < 2 or len(limits) < len(one.points):
        return []
    upper = [f"{frame.x_at(x):.1f} {frame.y_at(high):.1f}" for x, _, high in limits]
    lower = [f"{frame.x_at(x):.1f} {frame.y_at(low):.1f}" for x, low, _ in reversed(limits)]
    return [f'<path class="band s{one.style}" d="M{"L".join([*upper, *lower])}z"/>']


def _marks(frame: Frame, one: Series) -> list[str]:
    """The line, the intervals of points that no band shows, and the points themselves."""
    parts: list[str] = []
    at = [(frame.x_at(point.x), frame.y_at(point.y)) for point in one.points]
    if one.joined and len(at) > 1:
        parts.append(f'<path class="line s{one.style}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in at)}"/>')
    banded = one.joined and bool(_band(frame, one))
    for point, (x, y) in zip(one.points, at, strict=True):
        if point.limits and not banded:
            low, high = (frame.y_at(limit) for limit in point.limits)
            parts.append(f'<path class="whisker s{one.style}" d="M{x:.1f} {high:.1f}V{low:.1f}"/>')
        marker = MARKERS[one.style].format(x=f"{x:.1f}", y=f"{y:.1f}")
        told = visible(f"{one.label}, {point.name}: {value_text(point.y, point.limits)}")
        element = Markup('<path class="marker s{}" d="{}"><title>{}</title></path>')
        parts.append(element.format(one.style, marker, told))
        if point.tag:
            tag = Markup('<text class="tag" x="{}" y="{}"{}>{}</text>')
            left = x > WIDTH - RIGHT - 30
            anchor = Markup(' text-anchor="end"') if left else Markup("")
            height = max(y - 7, 12.0) if y < HEIGHT - BOTTOM else y - 7
            parts.append(tag.format(f"{x - 7 if left else x + 7:.1f}", f"{height:.1f}", anchor, visible(point.tag)))
    return parts


def _cap_label(cap: str) -> str:
    return f"{int(cap):,}" if cap.isdecimal() else cap
