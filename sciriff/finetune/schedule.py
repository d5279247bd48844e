"""Number of steps, the rows of each and its learning rate: pure functions, so that a resumed run agrees."""

import hashlib
import math
from functools import lru_cache

import numpy as np


def steps_per_epoch(rows: int, global_batch_size: int) -> int:
    """Return the optimizer steps that take every row once; the last one takes the rest."""
    return math.ceil(rows / global_batch_size)


def total_steps(rows: int, global_batch_size: int, epochs: int, max_steps: int | None) -> int:
    """Return the optimizer steps of a training: `max_steps`, or else those of `epochs`."""
    return max_steps if max_steps is not None else epochs * steps_per_epoch(rows, global_batch_size)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, rows: int) -> np.ndarray:
    """Return range(rows) sorted by a hash of (seed, epoch, row); numpy's shuffle may change with its version."""
    keys = [hashlib.sha256(f"{seed} {epoch} {row}".encode()).digest() for row in range(rows)]
    return np.array(sorted(range(rows), key=keys.__getitem__), dtype=np.int64)


def step_rows(step: int, rows: int, global_batch_size: int, seed: int) -> np.ndarray:
    """Return the rows of optimizer step `step` (from 0), at most `global_batch_size` of range(rows)."""
    epoch, within = divmod(step, steps_per_epoch(rows, global_batch_size))
    return epoch_order(seed, epoch, rows)[within * global_batch_size : (within + 1) * global_batch_size]


def learning_rate(step: int, steps: int, peak: float, warmup_ratio: float, schedule: str) -> float:
    """Return the learning rate of optimizer step `step` (from 0) of `steps`.

    It rises over the first ceil(warmup_ratio * steps) steps to the peak, then stays there (constant) or falls towards
    0, which it would reach one step after the last (linear, cosine). No step has a rate of 0.
    """
    warmup = math.ceil(warmup_ratio * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    progress = (step - warmup) / (steps - warmup)
    if schedule == "linear":
        return peak * (1 - progress)
    assert schedule == "cosine", schedule
    return peak * (1 + math.cos(math.pi * progress)) / 2


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of the random state (dropout) of one rank in one step, so that checkpoints need none."""
    return int.from_bytes(hashlib.sha256(f"step {seed} {step} {rank}".encode()).digest()[:4], "big")
