"""Curves: round ticks, no lost spikes, gaps where a loss is not a number."""

import math
import random

from sciriff.report.figures import POINTS, Curve, panel, strip, thin, ticks, trailing_mean


def test_ticks_are_few_round_and_inside() -> None:
    assert ticks(0, 2.1e-5) == [0, 5e-6, 1e-5, 1.5e-5, 2e-5]
    draw = random.Random(0)
    for _ in range(500):
        low = draw.uniform(-1, 1) * 10 ** draw.randint(-6, 6)
        high = low + 10 ** draw.uniform(-3, 6) * max(abs(low), 1e-6)
        found = ticks(low, high)
        assert 2 <= len(found) <= 8
        assert low - 1e-6 * (high - low) <= found[0] and found[-1] <= high + 1e-6 * (high - low)


def test_thinning_keeps_every_spike() -> None:
    points = [(float(x), 1.0) for x in range(10_000)]
    points[1234] = (1234.0, 9.0)
    points[777] = (777.0, -9.0)
    kept = thin(points)
    assert len(kept) <= 2 * POINTS
    assert points[1234] in kept and points[777] in kept
    assert kept == sorted(kept)


def test_trailing_mean() -> None:
    points = [(1.0, 1.0), (2.0, 3.0), (3.0, math.nan), (4.0, 5.0), (5.0, 7.0)]
    assert trailing_mean(points, 2) == [(2.0, 2.0), (4.0, 4.0), (5.0, 6.0)]
    assert trailing_mean(points, 3) == []


def test_a_loss_that_is_not_a_number_leaves_a_gap() -> None:
    figure = panel("t", "d", [Curve("curve", [(1, 1.0), (2, math.nan), (3, 1.0), (4, math.inf)])], [], from_zero=False)
    assert figure is not None
    assert "nan" not in figure.svg and "inf" not in figure.svg
    assert figure.svg.count('class="curve" d="M') == 1 and figure.svg.count("h0") == 2


def test_one_step_can_be_drawn_and_none_cannot() -> None:
    assert panel("t", "d", [Curve("curve", [(1, 0.0)])], [], from_zero=True) is not None
    assert panel("t", "d", [Curve("curve", [(1, math.nan)])], [], from_zero=True) is None


def test_a_title_is_escaped() -> None:
    figure = panel("<b>", "&", [Curve("curve", [(1, 0.0)])], [], from_zero=True)
    assert figure is not None and "<title>&lt;b&gt;. &amp;</title>" in figure.svg


def test_a_strip_stays_inside_its_box() -> None:
    assert 'cx="4.0"' in strip({"value": -0.5}, []) and 'cx="204.0"' in strip({"value": 7.0}, [None])
    assert strip(None, [{"value": 0.5}]).count("<circle") == 1
