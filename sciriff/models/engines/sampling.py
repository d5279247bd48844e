"""Random numbers for sampled answers: a function of seed, instance, sample and step, and of nothing else.

So an answer is the same whatever is in its batch, whatever was resumed and however many samples are asked for.
"""

import numpy as np
import numpy.typing as npt

from sciriff.run.digest import value_digest

STREAM_BITS = 128
"""Of a stream's key: what the generator takes, so that no two answers share numbers."""
STEP_AT = 128
"""The bit of the generator's counter, of 256 bits, from which the step counts. Below it count the numbers of a step."""
SEED_BITS = 31
"""Of a seed that every engine and server takes."""


def stream_of(seed: int, task: str, key: tuple[str, int]) -> int:
    """The key of the random numbers of an answer, which is known by its instance id and the number of its sample."""
    return int(value_digest([seed, task, *key]), 16) % 2**STREAM_BITS


def random_bits(stream: int, step: int, count: int) -> npt.NDArray[np.int32]:
    """`count` numbers of 32 random bits for one step of an answer.

    Philox computes them from key and counter (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). Its
    raw numbers are the same on every machine and in every version of NumPy, as NumPy's distributions are not.
    """
    raw = np.random.Philox(key=stream, counter=step << STEP_AT).random_raw(-(-count // 2))
    return raw.astype("<u8").view("<i4")[:count]


def seed_of(stream: int) -> int:
    """The same for a generator that is not ours."""
    return stream % 2**SEED_BITS
