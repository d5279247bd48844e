"""Rows that stages hand to each other as JSON lines: Conversation, Instance, Prediction, Judgement."""

import sys
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from sciriff.run.json_lines import Message
from sciriff.run.typed_json import FromOne

AnswerKey = tuple[str, int]
"""Which answer of a task: the instance's id, and the number of the sample, from 1."""

Rating = Annotated[int, Meta(ge=1, le=5)]
Dollars = Annotated[float, Meta(ge=0, le=sys.float_info.max)]


def named(key: AnswerKey) -> str:
    """Name of an answer for messages: the instance's id, and the sample's number from 2."""
    return key[0] if key[1] == 1 else f"{key[0]} (sample {key[1]})"


class Keyed:
    """An answer, or a row about one: dataclasses with these two fields have its key."""

    instance_id: str
    sample: int | None

    @property
    def key(self) -> AnswerKey:
        return self.instance_id, self.sample or 1


@dataclass(frozen=True)
class Conversation:
    """One row of a training mix, in the format of the published SciRIFF-train-mix.

    `dataset` is `science.<task>` or the name of a general source; the last message is the assistant's.
    """

    dataset: str
    id: str
    messages: tuple[Message, ...]

    @property
    def name(self) -> str:
        """Name in messages and token files."""
        return f"{self.dataset}/{self.id}"


@dataclass(frozen=True)
class Instance:
    """One evaluation example: the instruction with its document, and the answer that is expected."""

    task: str
    instance_id: str
    prompt: str
    reference: str


@dataclass(frozen=True)
class Prediction(Keyed):
    """A model's answer to one instance. Token counts are of the model's own tokenizer."""

    task: str
    instance_id: str
    prompt: str
    prediction: str
    reference: str
    finish_reason: str | None = None
    """`stop` (the model ended its answer), `length` (it ran into the limit), `unfinished_thought` (its thought did, so
    that no answer came), `no_content` (it ended without a word of text), `skipped` (the prompt is too long); from a
    server also `refusal`, `content_filter`, or a word of its own."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    """Tokens of thought and answer."""
    truncated_tokens: int = 0
    """Tokens of the document that were cut so that the prompt fits the model."""
    prompt_digest: str | None = None
    """Digest of the whole input; a saved answer is reused only while it is unchanged."""
    sample: FromOne | None = None
    """Number of the answer among several to the same prompt, from 1; None if there is only one."""
    thought: str | None = None
    """What the model thought before it answered, which is scored by nobody; None if it did not think."""
    thought_tokens: int | None = None
    """Share of `output_tokens` that the thought took, its markers included."""


@dataclass(frozen=True)
class Judgement(Keyed):
    """A judge's response about one prediction, and the rating read from it."""

    instance_id: str
    judge: str
    prompt_digest: str
    response: str
    rating: Rating | None
    """1 to 5, or None if the response could not be read."""
    status: str
    """`rated` or `unreadable`."""
    input_tokens: int = 0
    """The server's count."""
    output_tokens: int = 0
    usd: Dollars | None = None
    """Cost at the price of its day, so that a later start knows what was spent; None if the price was unknown."""
    sample: FromOne | None = None
    """As in Prediction."""
    finish_reason: str | None = None
    """As in Prediction; None in rows of earlier versions."""
    limit: int | None = None
    """Most tokens that the response might have; None in rows of earlier versions."""
