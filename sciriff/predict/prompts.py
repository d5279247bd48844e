"""Turn instances into prompts: token ids with the same markup as in training, truncated where they are too long."""

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sciriff.config import ChatSettings
from sciriff.data.records import AnswerKey, Instance, Prediction
from sciriff.models.chat_markup import PLAIN, prompt_ids
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

CUT = " [...] "
"""Replaces the part of a document that was cut."""
SERVERS = "server"
"""Stands for a markup that is applied by the API server, which gets plain text."""
BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")


@dataclass(frozen=True)
class Prompt:
    """One instance as the model's input."""

    instance: Instance
    text: str
    """The user's message after truncation."""
    ids: list[int]
    """Token ids of the whole prompt with its markup. Longer than the context allows if `skipped`."""
    truncated_tokens: int = 0
    skipped: bool = False
    sample: int | None = None
    """Number of the sample out of `eval.samples`, from 1; None if there is only one."""

    @property
    def key(self) -> AnswerKey:
        return self.instance.instance_id, self.sample or 1

    def row(
        self,
        prediction: str,
        finish_reason: str | None,
        output_tokens: int,
        digest: str | None = None,
        prompt_tokens: int | None = None,
    ) -> Prediction:
        """The row of an answer to this prompt. `prompt_tokens` are those of `ids` unless a server counted others."""
        return Prediction(
            task=self.instance.task,
            instance_id=self.instance.instance_id,
            prompt=self.text,
            prediction=prediction,
            reference=self.instance.reference,
            finish_reason=finish_reason,
            prompt_tokens=len(self.ids) if prompt_tokens is None else prompt_tokens,
            output_tokens=output_tokens,
            truncated_tokens=self.truncated_tokens,
            prompt_digest=digest,
            sample=self.sample,
        )

    def skipped_row(self) -> Prediction:
        """The empty row of a prompt that is too long under eval.truncation=skip."""
        return self.row("", "skipped", 0)


def make_prompt(
    instance: Instance, chat: str, tokenizer: Any, room: int, truncation: str, settings: ChatSettings = PLAIN
) -> Prompt:
    """Make the prompt of an instance with at most `room` tokens. `truncation` applies to longer ones:

    middle_of_document cuts the text as described in `shorten`, left keeps the last tokens (and loses the instruction),
    skip marks the prompt as skipped, error raises a UserError with the numbers. With `chat` = `SERVERS` the text gets
    no markup. `settings` are for the tokenizer's own template.
    """

    def render(text: str) -> list[int]:
        if chat == SERVERS:
            return plain_ids(text, tokenizer)
        return prompt_ids(chat, [Message("user", text)], tokenizer, settings)

    return fit(instance, render, tokenizer, room, truncation)


def fit(instance: Instance, render: Callable[[str], list[int]], tokenizer: Any, room: int, truncation: str) -> Prompt:
    """`make_prompt` with any markup: `render` turns the user's text into token ids."""
    ids = render(instance.prompt)
    if not ids:
        raise UserError(f"{instance.instance_id}: its prompt is empty; a model needs at least one token")
    if len(ids) <= room:
        return Prompt(instance, instance.prompt, ids)
    if truncation == "left":
        kept = ids[-room:]
        return Prompt(instance, tokenizer.decode(kept, skip_special_tokens=False), kept, len(ids) - room)
    if truncation == "skip":
        return Prompt(instance, instance.prompt, ids, skipped=True)
    if truncation == "middle_of_document":
        return shorten(instance, ids, render, tokenizer, room)
    raise UserError(
        f"{instance.instance_id}: its prompt of {len(ids)} tokens does not fit the {room} that eval.max_new_tokens "
        "leaves; choose another eval.truncation: middle_of_document, left or skip"
    )


def plain_ids(text: str, tokenizer: Any) -> list[int]:
    """Token ids of a text without special tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def shorten(
    instance: Instance, ids: list[int], render: Callable[[str], list[int]], tokenizer: Any, room: int
) -> Prompt:
    """Cut one span of tokens out of the document, so that instruction, question and markup stay.

    SciRIFF's prompts have an instruction before the document (DiSCoMaT: after it) and often a question after it,
    separated by blank lines. The cut is in the middle of the longest paragraph if that is long enough, else in the
    middle of all between the first and the last paragraph (a paper of many paragraphs), else in the middle of the
    text. It is widened to nearby word boundaries and marked by `CUT`. UserError without a fast tokenizer.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"{instance.instance_id}: its prompt of {len(ids)} tokens does not fit {room}, and "
            "eval.truncation=middle_of_document needs a fast tokenizer; choose eval.truncation=left, skip or error"
        )
    text = instance.prompt
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    drop = len(ids) - room
    while drop <= len(spans):
        first, last = span_to_cut(text, spans, drop)
        shorter = text[: spans[first][0]] + CUT + text[spans[last - 1][1] :]
        shorter_ids = render(shorter)
        if len(shorter_ids) <= room:
            return Prompt(instance, shorter, shorter_ids, last - first)
        drop += len(shorter_ids) - room  # CUT takes tokens, too, and the text around it may be tokenised differently
    raise UserError(
        f"{instance.instance_id}: its markup alone does not fit the {room} tokens that eval.max_new_tokens leaves"
    )


def span_to_cut(text: str, spans: list[tuple[int, int]], drop: int) -> tuple[int, int]:
    """Range [first, last) of at least `drop` tokens to cut; `spans` are the tokens' character offsets in `text`."""
    starts = [start for start, _ in spans]
    edges = [0]
    for blank in BLANK_LINE.finditer(text, len(text) - len(text.lstrip()), len(text.rstrip())):
        edges += [bisect_left(starts, blank.start()), bisect_left(starts, blank.end())]
    edges.append(len(spans))
    paragraphs = list(zip(edges[::2], edges[1::2], strict=True))
    longest = max(paragraphs, key=lambda paragraph: paragraph[1] - paragraph[0])
    between = (paragraphs[0][1], paragraphs[-1][0])
    lowest, highest = next((part for part in (longest, between) if part[1] - part[0] >= drop), (0, len(spans)))
    first = lowest + (highest - lowest - drop) // 2
    last = first + drop
    return _word_edge(text, spans, first, -1, lowest), _word_edge(text, spans, last, 1, highest)


def _word_edge(text: str, spans: list[tuple[int, int]], token: int, step: int, bound: int) -> int:
    """Nearest token in the direction of `step` that starts a word, at most 8 away (a table has none); else `token`."""
    for near in range(token, token + 9 * step, step):
        if near == bound:
            return near
        start = spans[near][0]
        if start == 0 or text[start - 1].isspace() or text[start].isspace():
            return near
    return token
