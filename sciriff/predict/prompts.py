"""Make each instance the token ids that the model gets: training's own markup, cut where it is too long."""

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sciriff.data.records import AnswerKey, Instance
from sciriff.models.chat_markup import prompt_ids
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

CUT = " [...] "
"""What stands where the middle of a document was cut out."""

SERVERS = "server"
"""In place of a markup: the server that gets the text writes it."""

BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")


@dataclass(frozen=True)
class Prompt:
    """One instance as the model gets it."""

    instance: Instance
    text: str
    """What the user says, after truncation."""
    ids: list[int]
    """The whole prompt with its markup. Longer than the model allows where `skipped`."""
    truncated_tokens: int = 0
    skipped: bool = False
    sample: int | None = None
    """Which of `eval.samples` answers to it is meant, from 1; None where there is one."""

    @property
    def key(self) -> AnswerKey:
        return self.instance.instance_id, self.sample or 1


def make_prompt(instance: Instance, chat: str, tokenizer: Any, room: int, truncation: str) -> Prompt:
    """The prompt of an instance in at most `room` tokens. `truncation` says what to do with one that is longer:

    middle_of_document cuts the user's text as `shorten` describes, left keeps the last tokens (and so loses the
    instruction), skip marks it, error raises a UserError with the numbers. `chat` is `SERVERS` where the text goes to
    a server as it is.
    """

    def render(text: str) -> list[int]:
        return plain_ids(text, tokenizer) if chat == SERVERS else prompt_ids(chat, [Message("user", text)], tokenizer)

    return fit(instance, render, tokenizer, room, truncation)


def fit(instance: Instance, render: Callable[[str], list[int]], tokenizer: Any, room: int, truncation: str) -> Prompt:
    """`make_prompt` with a markup of one's own: `render` makes token ids of what the user says."""
    ids = render(instance.prompt)
    if not ids:
        raise UserError(f"{instance.instance_id}: its prompt is empty, so that no model can begin an answer")
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
        "leaves; eval.truncation says what to do with it"
    )


def plain_ids(text: str, tokenizer: Any) -> list[int]:
    """The tokens of a text and nothing else."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def shorten(
    instance: Instance, ids: list[int], render: Callable[[str], list[int]], tokenizer: Any, room: int
) -> Prompt:
    """Cut one stretch of tokens out of the document, so that instruction, question and markup stay.

    SciRIFF's prompts put an instruction before the document (DiSCoMaT: after it) and often a question behind it, set
    off by blank lines. So the cut is in the middle of the longest paragraph where that is long enough; else in the
    middle of what is between the first and the last paragraph (a whole paper of many paragraphs); else in the middle of
    everything. It is widened to whole words where these are near, and marked by `CUT`.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"{instance.instance_id}: its prompt of {len(ids)} tokens does not fit {room}, and this tokenizer does not "
            "tell where tokens are in a text, as eval.truncation=middle_of_document needs; choose left, skip or error"
        )
    text = instance.prompt
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    drop = len(ids) - room
    while drop <= len(spans):
        first, last = stretch_to_cut(text, spans, drop)
        shorter = text[: spans[first][0]] + CUT + text[spans[last - 1][1] :]
        shorter_ids = render(shorter)
        if len(shorter_ids) <= room:
            return Prompt(instance, shorter, shorter_ids, last - first)
        drop += len(shorter_ids) - room  # the mark takes tokens too, and the seam may be tokenised otherwise
    raise UserError(
        f"{instance.instance_id}: its markup alone does not fit the {room} tokens that eval.max_new_tokens leaves"
    )


def stretch_to_cut(text: str, spans: list[tuple[int, int]], drop: int) -> tuple[int, int]:
    """[first, last) of at least `drop` tokens to cut, by the rule of `shorten`; `spans` are their places in `text`."""
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
    """The nearest token in the direction of `step` with white space before or at its start; `token` itself if there is
    none within 8 tokens (a table, or a script without spaces)."""
    for near in range(token, token + 9 * step, step):
        if near == bound:
            return near
        start = spans[near][0]
        if start == 0 or text[start - 1].isspace() or text[start].isspace():
            return near
    return token


def room_for_prompt(context: int, max_new_tokens: int) -> int:
    """Tokens that a prompt may have. UserError where the answer leaves none."""
    room = context - max_new_tokens
    if room < 1:
        raise UserError(
            f"eval.max_new_tokens={max_new_tokens} leaves no room for a prompt: the model takes {context} tokens in all"
        )
    return room
