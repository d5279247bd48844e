"""The ways to merge tensors: linear, slerp, ties and dare, each over one tensor in chunks, computed in float32.

All take the tensor of each model, those of share 0 left out, and yield the merged numbers chunk by chunk. A tensor is
what the files have under one name: fused experts are one, too.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from sciriff.merge.tensor_stream import TensorReader, chunks
from sciriff.models.safetensors_header import Stored

NEARLY_PARALLEL = 0.9995
"""Cosine of two tensors above which slerp is the linear mean: the arc is the chord, and its formula divides by almost
0."""


class Part(NamedTuple):
    """One model's tensor and share; the shares of all parts make 1."""

    stored: Stored
    share: float
    number: int
    """Place of the model in merge.models."""


class Settings(NamedTuple):
    """What a method is told besides the models."""

    density: float = 1.0
    seed: int = 0


def linear(
    reader: TensorReader, name: str, parts: Sequence[Part], base: Stored | None, settings: Settings
) -> Iterator[torch.Tensor]:
    """Mean of the models, weighted by their shares (model soups, arXiv 2203.05482)."""
    yield from _weighted(reader, parts, [part.share for part in parts])


def slerp(
    reader: TensorReader, name: str, parts: Sequence[Part], base: Stored | None, settings: Settings
) -> Iterator[torch.Tensor]:
    """The point on the great circle from the first model's tensor to the second's at the second's share (Shoemake 1985,
    doi 10.1145/325165.325242); the linear mean where they are nearly parallel, and where one of them is 0."""
    factors = [part.share for part in parts]
    if len(parts) == 2:
        cosine = _cosine(reader, parts[0].stored, parts[1].stored)
        if cosine is not None and abs(cosine) <= NEARLY_PARALLEL:
            angle = math.acos(cosine)
            factors = [math.sin(share * angle) / math.sin(angle) for share in factors]
    yield from _weighted(reader, parts, factors)


def ties(
    reader: TensorReader, name: str, parts: Sequence[Part], base: Stored | None, settings: Settings
) -> Iterator[torch.Tensor]:
    """Trim, elect sign and merge (TIES, Yadav et al. 2023, arXiv 2306.01708): of each model's differences from the base
    the largest are kept, `density` of them; each weight's sign is that of their weighted sum, and what is added to the
    base is the weighted mean of the kept differences of that sign."""
    assert base is not None
    trims = [_trim(reader, part.stored, base, settings.density) for part in parts]
    for first, count in chunks(base.numbers):
        start = reader.floats(base, first, count)
        kept = [
            trim.of(reader.floats(part.stored, first, count) - start) for part, trim in zip(parts, trims, strict=True)
        ]
        total = torch.zeros_like(start)
        for part, differences in zip(parts, kept, strict=True):
            total.add_(differences, alpha=part.share)
        upwards = total >= 0
        merged, shares = torch.zeros_like(start), torch.zeros_like(start)
        for part, differences in zip(parts, kept, strict=True):
            agrees = ((differences > 0) & upwards) | ((differences < 0) & ~upwards)
            merged.add_(differences * agrees, alpha=part.share)
            shares.add_(agrees, alpha=part.share)
        yield start.add_(merged.div_(shares.masked_fill_(shares == 0, 1.0)))


def dare(
    reader: TensorReader, name: str, parts: Sequence[Part], base: Stored | None, settings: Settings
) -> Iterator[torch.Tensor]:
    """Drop and rescale (DARE, Yu et al. 2023, arXiv 2311.03099): each difference from the base is kept with probability
    `density` and divided by it, and the weighted mean of all models is added to the base.

    What is kept depends on the seed, the name of the tensor and the place of the model alone: Philox's numbers are the
    same on every machine.
    """
    assert base is not None
    draws = [_draws(settings.seed, part.number, name) for part in parts]
    most = max(1, round(settings.density * 2**32)) - 1
    for first, count in chunks(base.numbers):
        start = reader.floats(base, first, count)
        merged = torch.zeros_like(start)
        for part, draw in zip(parts, draws, strict=True):
            drawn = draw.random_raw(-(-count // 2)).astype("<u8").view("<u4")[:count]
            differences = reader.floats(part.stored, first, count) - start
            merged.add_(differences * torch.from_numpy(drawn <= most), alpha=part.share / settings.density)
        yield start.add_(merged)


METHODS: dict[str, Callable[..., Iterator[torch.Tensor]]] = {
    "linear": linear,
    "slerp": slerp,
    "ties": ties,
    "dare": dare,
}


def _weighted(reader: TensorReader, parts: Sequence[Part], factors: Sequence[float]) -> Iterator[torch.Tensor]:
    for first, count in chunks(parts[0].stored.numbers):
        merged = reader.floats(parts[0].stored, first, count).mul_(factors[0])
        for part, factor in zip(parts[1:], factors[1:], strict=True):
            merged.add_(reader.floats(part.stored, first, count), alpha=factor)
        yield merged


def _cosine(reader: TensorReader, one: Stored, other: Stored) -> float | None:
    """Cosine of the angle between two tensors; None where one of them is 0."""
    squares, products = [0.0, 0.0], 0.0
    for first, count in chunks(one.numbers):
        pair = [reader.floats(stored, first, count).double() for stored in (one, other)]
        squares = [square + float(numbers @ numbers) for square, numbers in zip(squares, pair, strict=True)]
        products += float(pair[0] @ pair[1])
    lengths = math.sqrt(squares[0]) * math.sqrt(squares[1])
    return max(-1.0, min(1.0, products / lengths)) if lengths > 0 else None


class _Trim:
    """Keeps the numbers of a tensor, given chunk by chunk, whose bit pattern without the sign is above `pattern`, and
    the first `equal` of those that have it."""

    def __init__(self, pattern: int, equal: int) -> None:
        self._pattern = pattern
        self._equal = equal

    def of(self, differences: torch.Tensor) -> torch.Tensor:
        patterns = _patterns(differences)
        kept = patterns > self._pattern
        if self._equal:
            places = torch.nonzero(patterns == self._pattern)[: self._equal, 0]
            kept[places] = True
            self._equal -= len(places)
        return differences.mul_(kept)


def _trim(reader: TensorReader, stored: Stored, base: Stored, density: float) -> _Trim:
    """Find the smallest of the largest `density * numbers` magnitudes in two passes: over the upper 16 bits of float32,
    whose order without the sign is that of the numbers, and then over the lower ones. No tensor is sorted, which would
    take several times its memory."""
    if density >= 1 or not base.numbers:
        return _Trim(-1, 0)
    wanted = max(1, int(density * base.numbers))
    upper, above = _bucket(_histogram(reader, stored, base, None), wanted)
    lower, more = _bucket(_histogram(reader, stored, base, upper), wanted - above)
    return _Trim(upper << 16 | lower, wanted - above - more)


def _histogram(reader: TensorReader, stored: Stored, base: Stored, upper: int | None) -> torch.Tensor:
    """How often each value of the upper 16 bits is there; with `upper`, of the lower ones of numbers that begin so."""
    counts = torch.zeros(1 << 16, dtype=torch.int64)
    for first, count in chunks(base.numbers):
        patterns = _patterns(reader.floats(stored, first, count) - reader.floats(base, first, count))
        high = patterns >> 16
        values = high if upper is None else patterns[high == upper] & 0xFFFF
        counts += torch.bincount(values, minlength=1 << 16)
    return counts


def _bucket(counts: torch.Tensor, wanted: int) -> tuple[int, int]:
    """The highest value such that at least `wanted` numbers have it or a higher one, and how many have a higher one."""
    from_above = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_above, wanted))
    value = len(counts) - 1 - place
    return value, int(from_above[place] - counts[value])


def _patterns(numbers: torch.Tensor) -> torch.Tensor:
    """The bits of float32 numbers without their sign."""
    return numbers.view(torch.int32) & 0x7FFFFFFF


def _draws(seed: int, model: int, name: str) -> np.random.Philox:
    digest = hashlib.sha256(f"{seed}/{model}/{name}".encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))
