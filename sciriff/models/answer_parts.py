"""An output's tokens as text: the answer, and the thought before it, if there is one."""

from dataclasses import dataclass
from typing import Any

from sciriff.models.engines import Answer
from sciriff.models.thoughts import Thoughts
from sciriff.run.finish_reasons import NO_CONTENT, UNFINISHED_THOUGHT


@dataclass(frozen=True)
class AnswerParts:
    """An output in its parts."""

    text: str
    """The answer."""
    finish_reason: str | None
    thought: str | None
    thought_tokens: int | None


def whole_answer(answer: Answer, tokenizer: Any) -> AnswerParts:
    """The text of an output without a thought, less the token that ended it."""
    ids = answer.token_ids[:-1] if answer.finish_reason == "stop" else answer.token_ids
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return AnswerParts(text, answer.finish_reason, None, None)


def split_answer(
    prompt: list[int], answer: Answer, ended_by_model: bool, thoughts: Thoughts, tokenizer: Any, specials: bool
) -> AnswerParts:
    """Split the tokens of an output, whose last one is left out if the model ended it with that. `specials`: whether
    special tokens stay in the text of the answer."""
    finish_reason = answer.finish_reason
    split = thoughts.after(prompt, tokenizer).split(answer.token_ids, tokenizer)
    ids = split.answer[:-1] if ended_by_model else split.answer
    if not split.answered:
        ended = UNFINISHED_THOUGHT if finish_reason == "length" else NO_CONTENT
        return AnswerParts("", ended, split.thought, split.thought_tokens)
    decoded = tokenizer.decode(list(ids), skip_special_tokens=not specials, clean_up_tokenization_spaces=False)
    text = split.text(decoded)
    return AnswerParts(text, finish_reason, split.thought, split.thought_tokens or None)
