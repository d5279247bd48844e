"""Engines that answer prompts: transformers (runs everywhere) or vLLM (many times faster on a GPU).

Both take a `Request` and yield finished answers as token ids; markup and decoding are the same for both.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sciriff.config import EngineConfig, ModelConfig
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    from sciriff.models.thoughts import Thoughts

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
    """None decodes greedily, and so are prompts that it has no stream for, the last ones."""
    stops: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Place -> strings that end its answer, for prompts that have any. They may stand within tokens."""
    continuations: Mapping[int, list[list[int]]] = field(default_factory=dict)
    """Place -> continuations whose log-likelihoods are wanted; such a prompt is not answered otherwise."""
    thoughts: "Thoughts | None" = None
    """How this model marks its thoughts; None if it has none, or they are part of its answers."""
    thinking: int = 0
    """Most tokens of a thought besides the limit of its answer; with 0 both have that limit together."""
    waits: int | None = None
    """First place of the prompts that are begun only when all those before have their answers, so that these are the
    same without them."""

    @property
    def longest(self) -> list[int]:
        """Most new tokens of each prompt, those of a thought included."""
        thinking = self.thinking if self.thoughts else 0
        return [limit + (0 if at in self.continuations else thinking) for at, limit in enumerate(self.limits)]


@dataclass(frozen=True)
class Answer:
    place: int
    """Position in `Request.prompts`."""
    token_ids: list[int]
    """New tokens, including the end token, or the token in which a stop string is complete."""
    finish_reason: str
    """`stop` (the model ended its output, or wrote a stop string), `length` (its answer or its thought ran into the
    limit) or `scored`."""
    log_likelihoods: list[float] = field(default_factory=list)
    """Natural logarithm of each continuation's probability, summed over its tokens. Finite: a probability of 0 has the
    lowest number that there is."""
    greedy: list[bool] = field(default_factory=list)
    """For each continuation whether each of its tokens is the most likely one."""


def scored_answer(place: int, log_likelihoods: Iterable[float], greedy: Iterable[bool]) -> Answer:
    """The answer to a prompt with continuations. UserError if a log-likelihood is NaN."""
    values = list(log_likelihoods)
    if any(map(math.isnan, values)):
        raise UserError(COMPUTES_NAN)
    return Answer(place, [], "scored", [max(value, -sys.float_info.max) for value in values], list(greedy))
