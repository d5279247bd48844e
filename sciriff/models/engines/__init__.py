"""Who answers the prompts: transformers (runs everywhere) or vLLM (many times faster on a GPU).

Both take a `Request` and yield finished answers, token ids in and token ids out: markup and decoding are the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sciriff.config import EngineConfig, ModelConfig

COMPUTES_NAN = "the model computes NaN: its training diverged, or model.dtype has too small a range for it"


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, and from which random numbers."""

    temperature: float
    top_p: float
    streams: list[int]
    """Of every prompt the key of its random numbers (`sampling.stream_of`): an answer depends on its own alone."""


@dataclass(frozen=True)
class Request:
    """What an engine is asked to do."""

    model: ModelConfig
    engine: EngineConfig
    prompts: list[list[int]]
    """Token ids of every prompt, answered or not; an Answer refers to its place here."""
    limits: list[int]
    """Of every prompt how many tokens its answer may have."""
    batches: Iterable[list[int]]
    """What is left to do: places in `prompts`. An engine takes a batch when it has room for it, since others may draw
    from the same batches, and yields its answers together or each by itself."""
    context: int
    """Tokens that prompt and answer may take together."""
    end_ids: list[int]
    """Tokens that end an answer."""
    seed: int
    in_hands: int | None = None
    """Prompts that an engine may have taken and not answered yet; None sets no bound."""
    sampling: Sampling | None = None
    """None takes the most likely token each time."""


@dataclass(frozen=True)
class Answer:
    """What the model wrote to one prompt."""

    place: int
    token_ids: list[int]
    """The new tokens, with the one that ended the answer."""
    finish_reason: str
    """`stop` (the model ended its answer) or `length` (it ran into the limit)."""
