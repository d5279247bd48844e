"""Thoughts in a model's output: how they are marked, where they end, and what is left as the answer.

Where a mark is a token of its own it is found by its id, so that the same letters in an answer or in a quote are no
mark. How a model marks its thoughts is said by the first of these that knows it: `model.thinking`, the tokenizer's
response template, the tokens of its vocabulary, the text of its chat template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import takewhile
from typing import Any

from sciriff.config import ModelConfig
from sciriff.models.chat_markup import PLAIN, prompt_ids
from sciriff.models.engines.stop_strings import StopStrings
from sciriff.models.thought_marks import CHANNELS, FIELDS, IN_VOCABULARY, NAMED, NONE, THINK, Marks
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

BLANK_START = 8
"""Most tokens of white space before the mark that begins a thought."""
LONGEST_MARK = 64
"""Characters of a mark that a template may name."""
CHOICE = re.compile(r"(?<!\\)[.*+?()\[\]{}^$|]|\\\w")
"""What a pattern has that matches more than one text."""
HEADER = re.compile(r"(?:<\|start\|>[^<]*)?<\|channel\|>[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
"""What stands before a message of gpt-oss."""
FINAL = re.compile(r"<\|channel\|>final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")


@dataclass(frozen=True)
class Split:
    """An output in its parts."""

    thought: str | None
    """None if the model did not think."""
    thought_tokens: int
    """Tokens of the thought with its marks."""
    answer: Sequence[int]
    rest: str
    """Beginning of the answer that is in the token which ends the thought; empty where marks are tokens."""
    answered: bool
    """Whether the answer has begun: a thought that did not end has none."""

    def text(self, decoded: str) -> str:
        """The answer, whose tokens are `decoded`: after a thought without the white space that parts them."""
        return decoded if self.thought is None else (self.rest + decoded).lstrip()


@dataclass(frozen=True)
class Thoughts:
    """The marks of one model, as token ids where they are tokens."""

    marks: Marks
    start: tuple[int, ...]
    end: tuple[int, ...]
    """Empty where a mark is plain text."""
    until: int | None
    message_ends: frozenset[int]
    also_end: frozenset[int]
    opened: bool
    """Whether the prompt has begun the thought, so that an output has its end mark only."""
    tail: tuple[int, ...] = ()
    """Tokens that every prompt ends with, before what an answer is made to begin with."""

    def after(self, prompt: Sequence[int], tokenizer: Any) -> Thoughts:
        """The same after one prompt, whose end may have begun or ended a thought in the model's name."""
        at = _last(prompt, self.tail)
        opened = self.opened_by(prompt[at + len(self.tail) :], tokenizer) if at >= 0 else None
        return self if opened in (None, self.opened) else replace(self, opened=bool(opened))

    def opened_by(self, ids: Sequence[int], tokenizer: Any) -> bool | None:
        """Whether the last mark in some tokens begins a thought; None without any."""
        if self.end:
            start, end = _last(ids, self.start[:1]), _last(ids, self.end)
        else:
            text = _decoded(tokenizer, ids)
            start, end = text.rfind(self.marks.start), text.rfind(self.marks.end)
        return None if max(start, end) < 0 else start > end

    @property
    def settings(self) -> list[Any]:
        """What an answer depends on."""
        return [self.marks.start, self.marks.end]

    def line(self) -> str:
        """For the log."""
        how = "its token" if self.end else "its text, for it is no token"
        begun = "; every prompt begins one" if self.opened else ""
        return f"thoughts end with {visible_line(self.marks.end)} (found by {how}{begun})"

    def answer_ends(self, end_ids: Sequence[int]) -> frozenset[int]:
        """Tokens that end an answer."""
        return self.message_ends | self.also_end | frozenset(end_ids)

    def thought_ends(self, end_ids: Sequence[int]) -> frozenset[int]:
        """Tokens that end an output within its thought."""
        return (self.also_end | frozenset(end_ids)) - self.message_ends

    def split(self, ids: Sequence[int], tokenizer: Any) -> Split:
        """Split a whole output, end tokens included."""
        so_far = OutputSoFar(self, tokenizer)
        so_far.read(ids)
        if so_far.answers:
            begins = so_far.begins
            if not begins and not self.opened:
                return Split(None, 0, ids, "", True)
            text = _decoded(tokenizer, ids[:begins])
            head, rest = (text, "") if self.end else _split_at(text, self.marks.end)
            return Split(self._cleaned(head), begins, ids[begins:], rest, True)
        if not so_far.thinks:
            return Split(None, 0, ids, "", True)
        return Split(self._cleaned(_decoded(tokenizer, ids)), len(ids), [], "", False)

    def split_text(self, text: str, finish_reason: str | None) -> tuple[str | None, str, bool]:
        """(thought, answer, whether that has begun) of the output of a server that does not part them itself.

        There a mark is only text. Where the prompt began a thought and none ends in it, the text is the answer: the
        server may have kept the thought for itself; unless it ran into its limit.
        """
        if not self.opened and not text.lstrip().startswith(self.marks.start):
            return None, text, True
        if self.marks is CHANNELS:
            found = FINAL.search(text)
            head, end, answer = (text[: found.end()], found[0], text[found.end() :]) if found else (text, "", "")
            answer = re.sub(r"<\|(?:return|end)\|>\s*$", "", answer)
        else:
            head, end, answer = text.partition(self.marks.end)
            answer = answer.lstrip().removeprefix(self.marks.until)
        if end:
            return self._cleaned(head), answer.lstrip(), True
        if self.opened and finish_reason != "length":
            return None, text, True
        return self._cleaned(text), "", False

    def _cleaned(self, text: str) -> str:
        """A thought without its marks."""
        if self.marks is CHANNELS:
            return HEADER.sub("\n", text).replace("<|end|>", "").strip()
        text = text.strip().removesuffix(self.marks.until).rstrip()
        text = text.removeprefix(self.marks.start).removesuffix(self.marks.end).lstrip(" ")
        return text.removeprefix(self.marks.label).strip()


class OutputSoFar:
    """Where a growing output stands: before its thought, in it, or in its answer."""

    def __init__(self, thoughts: Thoughts, tokenizer: Any) -> None:
        self._of = thoughts
        self._tokenizer = tokenizer
        self._text_end = None if thoughts.end else StopStrings(tokenizer, [thoughts.marks.end])
        self._known = 0
        self._ending = False
        self._from = 0
        self.thinks = thoughts.opened
        """Whether it is in its thought."""
        self.answers = False
        """Whether it is in its answer."""
        self.begins = 0
        """Index of the answer's first token, if it answers."""

    def read(self, ids: Sequence[int]) -> None:
        """Take in the tokens of an output that have come since the last call."""
        for count in range(self._known + 1, len(ids) + 1):
            if self.answers:
                break
            if self.thinks:
                self._in_thought(ids, count)
            else:
                self._at_start(ids, count)
        self._known = len(ids)

    def _at_start(self, ids: Sequence[int], count: int) -> None:
        if self._of.start:
            self.thinks = ids[count - 1] == self._of.start[0]
            blank = not self.thinks and not _decoded(self._tokenizer, ids[:count]).strip()
        else:
            text = _decoded(self._tokenizer, ids[:count]).lstrip()
            self.thinks = text.startswith(self._of.marks.start)
            blank = not self.thinks and self._of.marks.start.startswith(text)
        self._from = count
        self.answers = not self.thinks and not (blank and count < BLANK_START)

    def _in_thought(self, ids: Sequence[int], count: int) -> None:
        end = self._of.end
        if self._text_end is not None:
            over = self._text_end.end(ids[self._from : count])
        elif self._ending:
            over = ids[count - 1] == self._of.until
        else:
            over = tuple(ids[max(0, count - len(end)) : count]) == end
            if over and self._of.until is not None:
                self._ending, over = True, False
        if over:
            self.thinks, self.answers, self.begins = False, True, count


def thoughts_of(model: ModelConfig, tokenizer: Any, served: bool = False) -> Thoughts | None:
    """How a model marks its thoughts; None if it is not known to have any. A model that is `served` gets its prompts in
    the tokenizer's own markup. UserError for a model.thinking that nobody knows."""
    marks = _marks(model, tokenizer)
    if marks is None:
        return None
    tokens = {token.content: id for id, token in tokenizer.added_tokens_decoder.items()}
    start = tuple(_ids(marks.start, tokens, tokenizer))
    end = tuple(_ids(marks.end, tokens, tokenizer))
    by_ids = bool(start and end) and (not marks.until or marks.until in tokens)
    message_ends, also_end = (
        frozenset(tokens[name] for name in names if name in tokens) for names in (marks.message_ends, marks.also_end)
    )
    start, end = (start, end) if by_ids else ((), ())
    until = tokens.get(marks.until) if by_ids else None
    chat = "tokenizer" if served else model.chat
    settings = model.chat_settings if chat == "tokenizer" else PLAIN
    tail: tuple[int, ...] = ()
    # a server has a template of its own, whatever the tokenizer's here is like
    with suppress(UserError) if served else nullcontext():
        one, other = (prompt_ids(chat, [Message("user", text)], tokenizer, settings) for text in ("x", "y"))
        same = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(one), reversed(other), strict=False))
        tail = tuple(reversed([token for token, _ in same]))
    empty = Thoughts(marks, start, end, until, message_ends, also_end, opened=False)
    return replace(empty, opened=bool(empty.opened_by(tail, tokenizer)), tail=tail)


def refuse_budget(model: ModelConfig, budget: int) -> None:
    """UserError for tokens of a thought of a model without known marks, unless it is said not to think."""
    if budget and model.thinking != NONE:
        raise UserError(
            f"eval.thinking_tokens={budget}: this model's tokenizer has no known mark that ends a thought: name its "
            f"reasoning parser with model.thinking, or give model.thinking={NONE} for a model that does not think"
        )


def _marks(model: ModelConfig, tokenizer: Any) -> Marks | None:
    if model.thinking is not None:
        return None if model.thinking == NONE else _named(model.thinking, tokenizer)
    if (marks := _of_response_template(getattr(tokenizer, "response_template", None))) is not None:
        return marks
    tokens = {token.content for token in tokenizer.added_tokens_decoder.values()}
    for marks in IN_VOCABULARY:
        if {marks.start, marks.until or marks.end} <= tokens:
            return marks
    template = tokenizer.chat_template
    return THINK if isinstance(template, str) and THINK.end in template else None


def _named(name: str, tokenizer: Any) -> Marks:
    """The marks of a reasoning parser of vLLM. UserError for one that is not known here, or has no marks."""
    if name in NAMED:
        return NAMED[name]
    known = f"known without vLLM: {NONE}, {', '.join(NAMED)}"
    shown = visible_line(name)[:LONGEST_MARK]
    if find_spec("vllm") is None:
        raise UserError(f"model.thinking={shown} may be a reasoning parser of vLLM, which is not installed; {known}")
    from vllm.reasoning import ReasoningParserManager

    try:
        parser = ReasoningParserManager.get_reasoning_parser(name)(tokenizer)
    except (KeyError, ValueError, RuntimeError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"model.thinking={shown}: vLLM has no such reasoning parser for this model ({reason}); {known}"
        ) from None
    start, end = parser.reasoning_start_str, parser.reasoning_end_str
    if not start or not end:
        raise UserError(f"model.thinking={shown}: this reasoning parser of vLLM has no fixed marks; {known}")
    return next((marks for marks in IN_VOCABULARY if marks.end == end), Marks(start, end))


def _of_response_template(template: Any) -> Marks | None:
    """The marks in a tokenizer's response template, which may be a stranger's; None where it names none."""
    fields = template.get("fields") if isinstance(template, dict) else None
    field = next((fields[name] for name in FIELDS if name in fields), None) if isinstance(fields, dict) else None
    if not isinstance(field, dict):
        return None
    start, end = _literal(field, "open"), _literal(field, "close")
    if end is None:
        return None
    if start is not None and start.startswith(CHANNELS.start):
        return CHANNELS
    known = next((marks for marks in IN_VOCABULARY if marks.end == end), None)
    return known or (Marks(start, end) if start else None)


def _literal(field: dict[str, Any], name: str) -> str | None:
    """The text of an anchor of a response template: given as such, or as a pattern that has no choice but white space
    at its end."""
    text, pattern = field.get(name), field.get(f"{name}_pattern")
    if isinstance(text, list):
        text = text[0] if text else None
    if isinstance(pattern, str) and not CHOICE.search(bare := pattern.removesuffix(r"\s*")):
        text = re.sub(r"\\(.)", r"\1", bare)
    return text if isinstance(text, str) and 0 < len(text) <= LONGEST_MARK else None


def _ids(mark: str, tokens: dict[str, int], tokenizer: Any) -> list[int]:
    """Ids of a mark that begins with a token of its own; empty for plain text."""
    first = max((name for name in tokens if name and mark.startswith(name)), key=len, default="")
    if not first:
        return []
    rest = mark.removeprefix(first)
    more: list[int] = tokenizer(rest, add_special_tokens=False)["input_ids"] if rest else []
    return [tokens[first], *more]


def _last(ids: Sequence[int], part: Sequence[int]) -> int:
    """Index of the last place of a part, -1 without any."""
    wanted = list(part)
    places = range(len(ids) - len(wanted), -1, -1)
    return next((at for at in places if list(ids[at : at + len(wanted)]) == wanted), -1)


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _split_at(text: str, mark: str) -> tuple[str, str]:
    head, _, rest = text.partition(mark)
    return head, rest
