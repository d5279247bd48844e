"""Format numbers for people, on the terminal, pages and in LaTeX: scores, intervals, p-values, times, money.

Scores, their differences and standard deviations are given in [0, 1] and shown in points of 100.
"""

from collections.abc import Collection, Sequence

LEAST_P = 0.001
"""Smaller p-values are written as `<0.001`."""
AGES = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def points(score: float, digits: int = 2) -> str:
    """Format a score: 0.531 is `53.10`."""
    return f"{100 * score:.{digits}f}"


def signed_points(difference: float, digits: int = 2) -> str:
    """Format a difference of scores with its sign, as `+1.23`; zero after rounding has none."""
    text = f"{100 * difference:+.{digits}f}"
    return text if float(text) else text[1:]


def small_signed_points(difference: float) -> str:
    """Format a difference that must not look like zero unless it is: `-0.002`, `+0.00`."""
    text = f"{100 * difference:+.2f}"
    return text if float(text) or not difference else f"{100 * difference:+.1g}"


def interval(limits: Sequence[float], digits: int = 1, signed: bool = False) -> str:
    """Format an interval: `[46.1, 57.0]`; of differences (`signed`): `[-1.2, +0.4]`."""
    low, high = (signed_points(limit, digits) if signed else points(limit, digits) for limit in limits)
    return f"[{low}, {high}]"


def plus_minus(sd: float, digits: int = 2) -> str:
    """Format a standard deviation: `± 1.25`."""
    return f"± {points(sd, digits)}"


def p_value(p: float) -> str:
    """Format a p-value with three decimals."""
    return f"<{LEAST_P}" if p < LEAST_P else f"{p:.3f}"


def count_of(counts: Collection[int], whole: int) -> str:
    """Format counts: `9 of 11`, or `7 to 11 of 11` if they differ."""
    least, most = min(counts), max(counts)
    return f"{least} of {whole}" if least == most else f"{least} to {most} of {whole}"


def duration(seconds: float) -> str:
    """Format a duration: `1 h 02 min`, `3 min 20 s`, `4.1 s`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def clock(seconds: float) -> str:
    """Format a duration for a column: `0:03:20`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def age(seconds: float) -> str:
    """Format an age in its largest unit: `3 h`."""
    return next((f"{int(seconds // size)} {unit}" for unit, size in AGES if seconds >= size), "0 s")


def dollars(usd: float) -> str:
    """Format money in cents; less than half a cent has one digit: `$1.20`, `$0.0003`."""
    return f"${usd:.2f}" if usd == 0 or usd >= 0.005 else f"${usd:.1g}"


def short(value: float) -> str:
    """Format a number for an axis: 78000 is `78k`, 2e-05 is `2e-5`."""
    if abs(value) >= 1e4:
        return f"{value / 1e6:g}M" if abs(value) >= 1e6 else f"{value / 1e3:g}k"
    if value and abs(value) < 1e-4:
        mantissa, exponent = f"{value:.6e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}"
