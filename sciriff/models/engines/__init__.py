"""Engines that answer prompts: transformers (runs everywhere) or vLLM (many times faster on a GPU).

Both take a `Request` and yield finished answers as token ids; markup and decoding are the same for both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sciriff.config import EngineConfig, ModelConfig

COMPUTES_NAN = "the model computes NaN: its training diverged, or model.dtype has too small a range for it"


@dataclass(frozen=True)
class Sampling:
    """Sampling settings and the random streams of the prompts."""

    temperature: float
    top_p: float
    streams: list[int]
    """Key of each prompt's random numbers (`sampling.stream_of`), so that an answer depends on no other prompt."""


@dataclass(frozen=True)
class Request:
    model: ModelConfig
    engine: EngineConfig
    prompts: list[list[int]]
    """Token ids of all prompts, whether to be answered or not."""
    limits: list[int]
    """Most new tokens of each prompt's answer."""
    batches: Iterable[list[int]]
    """Batches to answer, as positions in `prompts`; engines may share them, so each takes one when it has room."""
    context: int
    """Most tokens of a prompt and its answer together."""
    end_ids: list[int]
    """Tokens that end an answer."""
    seed: int
    in_hands: int | None = None
    """Most prompts in flight in an engine; None sets no limit."""
    sampling: Sampling | None = None
    """None decodes greedily."""


@dataclass(frozen=True)
class Answer:
    place: int
    """Position in `Request.prompts`."""
    token_ids: list[int]
    """New tokens, including the end token."""
    finish_reason: str
    """`stop` (the model ended its answer) or `length` (it ran into the limit)."""
