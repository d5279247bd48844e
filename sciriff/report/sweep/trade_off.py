"""Science against general abilities: where each run stands, which runs no other beats in both, and the drawing."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sciriff.report.figures import BOTTOM, HEIGHT, LEFT, Figure, Frame, ticks
from sciriff.report.sweep import drawings
from sciriff.report.sweep.configs import AblationLine
from sciriff.report.sweep.drawings import Point, Series
from sciriff.report.sweep.groups import SweepRow
from sciriff.results.seeds import Pooled
from sciriff.run.number_format import short
from sciriff.run.visible import visible

RING = 8.5
"""Radius of the ring of a run on the front."""


@dataclass(frozen=True)
class TradeOff:
    """What the page shows of science against general abilities."""

    figure: Figure
    legend: list[tuple[Markup, str]]
    rows: list[SweepRow]
    """Runs with both means, in the order of the page."""
    front: list[SweepRow]
    """Runs on the Pareto front, from the lowest general mean to the highest."""
    left_out: list[tuple[SweepRow, str]]
    """Other runs, and why they are not drawn."""


def trade_off(rows: Sequence[SweepRow], lines: Sequence[AblationLine]) -> TradeOff | None:
    """Draw the runs that have a general mean of the same tasks as the first that has one; None without any. Runs of a
    line are joined in the order of its caps."""
    first = next((row for row in rows if row.general_mean is not None), None)
    if first is None:
        return None
    left_out = [(row, reason) for row in rows if (reason := _left_out(row, first))]
    unfit = {row.number for row, _ in left_out}
    drawn = [row for row in rows if row.number not in unfit]
    front = [drawn[place] for place in pareto_front([_means(row) for row in drawn])]
    on_line = {place for line in lines for _, place in line.points}
    series = [
        Series(line.label, style, [_point(rows[at]) for _, at in line.points if rows[at] in drawn], banded=False)
        for style, line in enumerate(lines)
    ]
    free = [row for place, row in enumerate(rows) if row in drawn and row.trained and place not in on_line]
    series += [Series(row.group.name, 0, [_point(row)], joined=False, banded=False) for row in free]
    untrained = [row for row in drawn if not row.trained]
    series += [
        Series(row.group.name, drawings.UNTRAINED, [_point(row)], joined=False, banded=False) for row in untrained
    ]
    series = [line for line in series if line.points]
    legend = [(drawings.swatch(style), line.label) for style, line in enumerate(lines)]
    if untrained:
        legend.append((drawings.swatch(drawings.UNTRAINED), "untrained"))
    legend.append((FRONT_SWATCH, "Pareto front: no other run is better in one and as good in the other"))
    return TradeOff(_figure(series, [_point(row) for row in front]), legend, drawn, front, left_out)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the points that no other beats, by being at least as high in both values and higher in one, from
    the lowest first value to the highest. Points that are the same are all on it."""

    def beaten(point: tuple[float, float]) -> bool:
        return any(other[0] >= point[0] and other[1] >= point[1] and other != point for other in points)

    front = [place for place, point in enumerate(points) if not beaten(point)]
    return sorted(front, key=lambda place: (points[place], place))


def _left_out(row: SweepRow, first: SweepRow) -> str:
    """Why a run is not drawn; empty if it is."""
    if row.general is None or row.general_mean is None:
        return "no general tasks"
    assert first.general is not None
    own, others = ([task.name for task in found.tasks] for found in (row.general, first.general))
    return "" if sorted(own) == sorted(others) else f"other general tasks: {', '.join(own)}"


def _means(row: SweepRow) -> tuple[float, float]:
    assert row.general_mean is not None
    return row.general_mean.value.mean, row.mean.value.mean


def _point(row: SweepRow) -> Point:
    """A run at its general mean (to the right) and its science mean (upwards)."""
    assert row.general_mean is not None
    across, limits = _in_points(row.general_mean)
    up, up_limits = _in_points(row.mean)
    name = f"run {row.number}, general {Point(across, limits)}, science"
    return Point(up, up_limits, across, name, str(row.number), limits)


def _in_points(found: Pooled) -> tuple[float, tuple[float, float] | None]:
    limits = (100 * found.ci95[0], 100 * found.ci95[1]) if found.ci95 else None
    return 100 * found.value.mean, limits


def _figure(series: list[Series], front: list[Point]) -> Figure:
    points = [point for line in series for point in line.points]
    frame = Frame(
        *drawings.span([x for point in points for x in (point.x, *(point.x_limits or ()))]),
        *drawings.span([y for point in points for y in (point.y, *(point.limits or ()))]),
    )
    labels = [(tick, short(tick)) for tick in ticks(frame.x_low, frame.x_high)]
    title = "Science mean (upwards) against general mean (to the right)"
    texts = [*map(drawings.told, series), f"On the Pareto front: {', '.join(f'run {point.tag}' for point in front)}."]
    parts = [
        *drawings.head("trade-off", title, texts),
        *frame.grid(),
        *(
            f'<path class="grid" d="M{frame.x_at(tick):.1f} {frame.y_at(frame.y_high):.1f}V{HEIGHT - BOTTOM}"/>'
            for tick, _ in labels
        ),
        *frame.x_axis([(x, visible(text)) for x, text in labels], "general mean"),
        _steps(frame, front),
        *(part for line in series for part in drawings.marks(frame, line)),
        *(f'<circle class="ring" cx="{frame.x_at(p.x):.1f}" cy="{frame.y_at(p.y):.1f}" r="{RING}"/>' for p in front),
        "</svg>",
    ]
    return Figure(title, "", Markup("".join(parts)))


def _steps(frame: Frame, front: Sequence[Point]) -> str:
    """The border of what a run on the front equals or beats."""
    path = f"M{LEFT} {frame.y_at(front[0].y):.1f}"
    for point, following in zip(front, [*front[1:], None], strict=True):
        down = f"{frame.y_at(following.y):.1f}" if following else str(HEIGHT - BOTTOM)
        path += f"H{frame.x_at(point.x):.1f}V{down}"
    return f'<path class="front" d="{path}"/>'


FRONT_SWATCH = Markup(
    '<svg class="swatch" viewBox="0 0 40 16" aria-hidden="true"><path class="front" d="M2 8H38"/>'
    '<circle class="ring" cx="20" cy="8" r="6"/></svg>'
)
"""The sign of the front in the legend."""
