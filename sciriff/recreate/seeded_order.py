"""Choices that depend on a seed and a name alone, never on the order in which rows are read."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def seeded_order(items: Sequence[T], seed: int, *name: object) -> list[T]:
    """Return the items in the order of SHA-256 over the seed, the name of the choice and each item's position."""
    places = sorted(range(len(items)), key=lambda place: (_keyed(seed, *name, place), place))
    return [items[place] for place in places]


def seeded_share(seed: int, *name: object) -> float:
    """Return a number from 0 to below 1 by the seed and the name of the choice."""
    return int.from_bytes(_keyed(seed, *name)[:6]) / 2**48


def _keyed(*parts: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
