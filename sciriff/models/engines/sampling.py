"""Random numbers for sampled answers: a function of seed, instance, sample and step only.

An answer is therefore the same whatever else is in its batch, after a resume, and for any number of samples.
"""

import numpy as np
import numpy.typing as npt

from sciriff.run.digest import value_digest

STREAM_BITS = 128
"""Bits of a stream's key: all that the generator takes, so that no two answers share numbers."""
STEP_AT = 128
"""Bit of the generator's 256-bit counter where the step begins; the bits below count the numbers of a step."""
SEED_BITS = 31
"""Bits of a seed that all engines and servers accept."""


def stream_of(seed: int, task: str, key: tuple[str, int]) -> int:
    """Key of the random stream of the answer with this instance id and sample number."""
    return int(value_digest([seed, task, *key]), 16) % 2**STREAM_BITS


def random_bits(stream: int, step: int, count: int) -> npt.NDArray[np.int32]:
    """`count` numbers of 32 random bits for one step of an answer.

    Philox computes them from key and counter (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). Its
    raw numbers are the same on every machine and in every version of NumPy, as NumPy's distributions are not.
    """
    raw = np.random.Philox(key=stream, counter=step << STEP_AT).random_raw(-(-count // 2))
    return raw.astype("<u8").view("<i4")[:count]


def seed_of(stream: int) -> int:
    """Seed of an answer for an engine or server with its own generator."""
    return stream % 2**SEED_BITS
