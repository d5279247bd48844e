"""Draw lengths as histograms and shares as bars, inline SVG like the curves of `figures`."""

from collections.abc import Sequence
from statistics import median

from markupsafe import Markup

from sciriff.report.figures import Figure, ticks
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
    counts = [0] * (longest // size + 1)
    for length in lengths:
        counts[length // size] += 1
    step = (WIDTH - 2 * SIDE) / len(counts)
    end = size * len(counts)
    middle = f"median {median(lengths):,.0f}, longest {longest:,}"
    parts = [f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    parts.append(Markup("<title>{}</title>").format(f"{title}: {middle}"))
    for place, count in enumerate(counts):
        if count:
            height = max(1.0, count / max(counts) * (BASE - 6))
            x = SIDE + place * step
            parts.append(
                f'<path class="bin" d="M{x + 0.5:.1f} {BASE}v{-height:.1f}h{max(step - 1, 0.5):.1f}V{BASE}z"/>'
            )
    parts.append(f'<path class="axis" d="M{SIDE} {BASE}H{WIDTH - SIDE}"/>')
    for tick in ticks(0, end):
        x = SIDE + tick / end * (WIDTH - 2 * SIDE)
        anchor = "start" if tick == 0 else "end" if x > WIDTH - 24 else "middle"
        parts.append(f'<path class="axis" d="M{x:.1f} {BASE}v3"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{BASE + 16}" text-anchor="{anchor}">{short(tick)}</text>')
    parts.append("</svg>")
    return Figure(title, middle, Markup("".join(parts)))


def bar(share: float, style: str = "bar") -> Markup:
    """A share in [0, 1] as a bar on a track; the number stands beside it."""
    width = 100 * min(max(share, 0.0), 1.0)
    return Markup(
        f'<svg class="{style}" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="track" d="M0 0H100V8H0z"/><path class="filled" d="M0 0H{width:.2f}V8H0z"/></svg>'
    )
