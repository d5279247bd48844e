"""Divide a mix among its sources by weight, in rows or in tokens. Pure functions."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

TRIED = 512
"""Rows before and after the end of those that fit, among which some are looked for that bring a share of tokens nearer
to what was asked for."""
NEAR, SWAPS = 0.002, 64
"""How far off a sum of tokens may be as a part of it, and most exchanges that are tried."""


def largest_shares(weights: Mapping[str, float], there: Mapping[str, int]) -> dict[str, int]:
    """Rows of each source in the largest mix with shares by weight, where `there` says how many rows each has."""
    scale = min(there[name] / weight for name, weight in weights.items())
    return {name: min(there[name], math.floor(scale * weight + 0.5)) for name, weight in weights.items()}


def row_shares(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Rows of each source, whose sum is `total`: what rounding leaves goes to the largest remainders, among equal ones
    in the order of the sources."""
    exact = {name: total * share for name, share in token_shares(weights, 1).items()}
    rows = {name: math.floor(value) for name, value in exact.items()}
    missing = total - sum(rows.values())
    for name in sorted(exact, key=lambda name: rows[name] - exact[name])[:missing]:
        rows[name] += 1
    return rows


def token_shares(weights: Mapping[str, float], total: float) -> dict[str, float]:
    """The part of `total` that each source has by its weight."""
    whole = math.fsum(weights.values())
    return {name: total * (weight / whole) for name, weight in weights.items()}


def passes(rows: int, epochs: float) -> Iterator[int]:
    """Yield how many of `rows` rows each pass may take at most, where each row may come `epochs` times."""
    whole = math.floor(epochs) if rows else 0
    yield from (rows for _ in range(whole))
    if part := capacity(rows, epochs) - rows * whole:
        yield part


def capacity(rows: int, epochs: float) -> int:
    """Rows that all passes have together."""
    whole = math.floor(epochs)
    return rows * whole + math.floor((epochs - whole) * rows + 0.5)


def within(lengths: Sequence[int], tokens: float) -> list[int]:
    """Places of rows that together have about this many tokens: the first ones that fit; where the sum is off by more
    than NEAR, with one of the next TRIED that brings it nearer, and then with some of the last ones exchanged."""
    left = tokens
    count = 0
    while count < len(lengths) and lengths[count] <= left:
        left -= lengths[count]
        count += 1
    fixed = range(max(count - TRIED, 0))
    taken = list(range(len(fixed), count))
    near = list(range(count, min(count + TRIED, len(lengths))))
    while near and abs(left) > NEAR * tokens:
        best = min(near, key=lambda place: (abs(left - lengths[place]), place))
        if abs(left - lengths[best]) >= abs(left):
            break
        near.remove(best)
        taken.append(best)
        left -= lengths[best]
    for _ in range(SWAPS):
        if not (taken and near) or abs(left) <= NEAR * tokens:
            break
        gain, old, new = min(
            (abs(left - lengths[new] + lengths[old]), old, new) for old, new in _near_swaps(taken, near, lengths, left)
        )
        if gain >= abs(left):
            break
        left -= lengths[new] - lengths[old]
        taken[taken.index(old)], near[near.index(new)] = new, old
    return [*fixed, *sorted(taken)]


def _near_swaps(
    taken: Sequence[int], near: Sequence[int], lengths: Sequence[int], left: float
) -> Iterator[tuple[int, int]]:
    """For each taken row the two others, one longer and one shorter, whose lengths come nearest to what would fill what
    is left in its place."""
    by_length = sorted(near, key=lambda place: (lengths[place], place))
    found = [lengths[place] for place in by_length]
    for old in taken:
        at = bisect_left(found, lengths[old] + left)
        yield from ((old, by_length[place]) for place in (at - 1, at) if 0 <= place < len(found))
