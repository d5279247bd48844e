"""Draw lengths as histograms and shares as bars, inline SVG like the curves of `figures`."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from markupsafe import Markup

from sciriff.report.figures import Figure, svg, tick_label, ticks
from sciriff.run.number_format import short

WIDTH, HEIGHT = 300, 92
SIDE, BASE = 8, 72
BINS = 30


def histogram(title: str, lengths: Sequence[int]) -> Figure | None:
    """How many texts have which length, from 0 to the longest in at most BINS equal steps. None without a text."""
    if not lengths:
        return None
    longest = max(lengths)
    size = max(1, -(-(longest + 1) // BINS))
    counts = Counter(length // size for length in lengths)
    bins = [counts[place] for place in range(longest // size + 1)]
    return binned(title, f"median {median(lengths):,.0f}, longest {longest:,}", size, bins)


def binned(title: str, description: str, size: int, bins: Sequence[int]) -> Figure:
    """A histogram of counts in steps of `size` from 0."""
    step = (WIDTH - 2 * SIDE) / len(bins)
    parts = []
    for place, count in enumerate(bins):
        if count:
            height = max(1.0, count / max(bins) * (BASE - 6))
            x = SIDE + place * step + 0.5
            parts.append(f'<path class="bin" d="M{x:.1f} {BASE}v{-height:.1f}h{max(step - 1, 0.5):.1f}V{BASE}z"/>')
    parts.append(f'<path class="axis" d="M{SIDE} {BASE}H{WIDTH - SIDE}"/>')
    for tick in ticks(0, size * len(bins)):
        x = SIDE + tick / (size * len(bins)) * (WIDTH - 2 * SIDE)
        anchor = "start" if tick == 0 else "end" if x > WIDTH - 24 else "middle"
        parts += [f'<path class="axis" d="M{x:.1f} {BASE}v3"/>', tick_label(f"{x:.1f}", BASE + 16, anchor, short(tick))]
    return Figure(title, description, svg("histogram", WIDTH, HEIGHT, f"{title}: {description}", parts))


def bar(share: float, style: str = "bar") -> Markup:
    """A share in [0, 1] as a bar on a track; the number stands beside it."""
    width = 100 * min(max(share, 0.0), 1.0)
    return Markup(
        f'<svg class="{style}" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="track" d="M0 0H100V8H0z"/><path class="filled" d="M0 0H{width:.2f}V8H0z"/></svg>'
    )
