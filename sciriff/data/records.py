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
    """An answer as people read it: the instance's id, and which sample it is where that is not the first."""
    return key[0] if key[1] == 1 else f"{key[0]} (sample {key[1]})"


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
        """As messages and the files of tokens call it."""
        return f"{self.dataset}/{self.id}"


@dataclass(frozen=True)
class Instance:
    """One evaluation example: the instruction with its document, and the answer that is expected."""

    task: str
    instance_id: str
    prompt: str
    reference: str


@dataclass(frozen=True)
class Prediction:
    """What a model answered to one instance. Token counts are those of the model's own tokenizer."""

    task: str
    instance_id: str
    prompt: str
    prediction: str
    reference: str
    finish_reason: str | None = None
    """`stop` (the model ended its answer), `length` (it ran into the limit), `skipped` (the prompt is too long); of a
    server also `refusal`, `content_filter`, or another word of its own."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    truncated_tokens: int = 0
    """How many tokens of the document were cut so that the prompt fits the model."""
    prompt_digest: str | None = None
    """Of all that was given to the model, by which an answer is known to be still that to the same prompt."""
    sample: FromOne | None = None
    """Which of several answers to the same prompt it is, from 1; None where only one is asked for."""

    @property
    def key(self) -> AnswerKey:
        return self.instance_id, self.sample or 1


@dataclass(frozen=True)
class Judgement:
    """What a judge said of one prediction, and how it was read."""

    instance_id: str
    judge: str
    prompt_digest: str
    response: str
    rating: Rating | None
    """1 to 5, or None where the response could not be read."""
    status: str
    """`rated` or `unreadable`."""
    input_tokens: int = 0
    """By the server's count."""
    output_tokens: int = 0
    usd: Dollars | None = None
    """What the response cost at the price of its day, so that a later start knows what was spent; None where the price
    was not known."""
    sample: FromOne | None = None
    """As that of the prediction."""
    finish_reason: str | None = None
    """As that of a prediction."""
    limit: int | None = None
    """Tokens that the response might have. This and the reason are None where nobody wrote them down."""

    @property
    def key(self) -> AnswerKey:
        return self.instance_id, self.sample or 1
