"""Numbers as people read them."""

import pytest

from sciriff.run import number_format


@pytest.mark.parametrize(
    ("difference", "digits", "text"),
    [(0.01234, 2, "+1.23"), (-0.5, 1, "-50.0"), (0.00001, 2, "0.00"), (-0.00001, 2, "0.00"), (0.0, 1, "0.0")],
)
def test_a_difference_has_a_sign_unless_it_is_rounded_to_zero(difference: float, digits: int, text: str):
    assert number_format.signed_points(difference, digits) == text


@pytest.mark.parametrize(
    ("difference", "text"), [(0.01234, "+1.23"), (-0.5, "-50.00"), (-0.0000234, "-0.002"), (0.0, "+0.00")]
)
def test_a_small_difference_is_no_zero(difference: float, text: str):
    assert number_format.small_signed_points(difference) == text


def test_scores_with_what_is_known_of_them():
    assert number_format.points(0.531) == "53.10" and number_format.points(1, digits=1) == "100.0"
    assert number_format.interval((0.461, 0.57)) == "[46.1, 57.0]"
    assert number_format.interval((-0.012, 0.004), digits=2, signed=True) == "[-1.20, +0.40]"
    assert number_format.plus_minus(0.0125) == "± 1.25"


@pytest.mark.parametrize(("p", "text"), [(1.0, "1.000"), (0.0496, "0.050"), (0.001, "0.001"), (0.00099, "<0.001")])
def test_p_value(p: float, text: str):
    assert number_format.p_value(p) == text


@pytest.mark.parametrize(("counts", "text"), [([9], "9 of 11"), ([9, 9], "9 of 11"), ([11, 7, 9], "7 to 11 of 11")])
def test_count_of(counts: list[int], text: str):
    assert number_format.count_of(counts, 11) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.06, "4.1 s"), (59.99, "1 min 00 s"), (61.4, "1 min 01 s"), (3599.7, "1 h 00 min"), (90061, "25 h 01 min")],
)
def test_duration(seconds: float, text: str):
    assert number_format.duration(seconds) == text


def test_clock_and_age():
    assert [number_format.clock(seconds) for seconds in (0, 59.6, 90061)] == ["0:00:00", "0:01:00", "25:01:01"]
    assert [number_format.age(seconds) for seconds in (0.4, 61, 3 * 86400 + 5)] == ["0 s", "1 min", "3 d"]


def test_dollars():
    shown = [number_format.dollars(usd) for usd in (0, 0.00012, 0.0049, 0.005, 0.126, 12)]
    assert shown == ["$0.00", "$0.0001", "$0.005", "$0.01", "$0.13", "$12.00"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (2e-5, "2e-5"), (1.5e-5, "1.5e-5"), (0.5, "0.5"), (5e-4, "0.0005"), (78000, "78k"), (2_500_000, "2.5M")],
)
def test_short(value: float, text: str):
    assert number_format.short(value) == text
