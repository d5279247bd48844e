"""The markup of each model family: conversations to token ids, for training and for prompts.

No other module knows a role tag. A conversation is rendered by a chat template (chat_templates/, or the tokenizer's
own) and cut where each answer begins and ends; the pieces are tokenised separately. So no token spans the beginning of
an answer, and the prompt is, token for token, a prefix of the trained sequence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciriff.config import CHAT_DATE, CHAT_FORMATS, ChatSettings, ModelConfig
from sciriff.models.remark import LEARNT, Remark
from sciriff.models.thought_marks import IN_VOCABULARY
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    from jinja2 import Template
    from transformers import PreTrainedTokenizerFast

    from sciriff.models.tokenizer_template import TokenizerTemplate

_TEMPLATES = Path(__file__).with_name("chat_templates")
assert {*(path.stem for path in _TEMPLATES.glob("*.jinja")), "tokenizer"} == set(CHAT_FORMATS)

_STRUCTURE = {
    "llama3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "qwen": ("<|im_start|>", "<|im_end|>"),
}
"""Tokens that a format consists of, besides the tokenizer's BOS and EOS."""
_ALSO_ENDS = {"llama3": ("<|end_of_text|>",), "qwen": ("<|endoftext|>",)}
"""Tokens besides the one that ends an answer with which a model may end a text, if the tokenizer has them."""
_MARK_CODE_POINTS = range(0xE000, 0x110000)
"""Code points, from the first private-use area on, of the two characters that mark cuts in rendered text."""
PLAIN = ChatSettings()
"""No arguments, and the default day."""
_FIRST_MARKS = chr(_MARK_CODE_POINTS[0]), chr(_MARK_CODE_POINTS[1])
Texts = list[str]
"""Parts of a piece of a rendered conversation, cut inside every special token's name that a message contains: `<` `/s>`
cannot become the EOS token, nor a quoted `</think>` the end of a thought."""


class Rendered(NamedTuple):
    """A conversation as text: pieces that alternate between prompt and answer."""

    pieces: list[Texts]
    answers: list[int]
    """For each answer the number of messages up to and including it."""
    remark: Remark = LEARNT


class TrainingRow(NamedTuple):
    """Token ids and targets of a conversation."""

    ids: np.ndarray
    """int32, shape (tokens,)."""
    targets: np.ndarray
    """bool, shape (tokens,): the assistant's text and the token that ends it, in every turn; never a role tag."""
    answers: list[tuple[int, int]]
    """For each answer that is learnt the number of messages and of tokens up to its end; they are those of these
    messages alone."""
    remark: Remark = LEARNT


def jinja_template(chat: str) -> str | None:
    """Return the chat template to save with a model, so that other tools render the same; None for `tokenizer`."""
    if chat == "tokenizer":
        return None
    return "".join(line for line in _template_lines(chat) if not line.startswith("{#") and "{{ edge }}" not in line)


def saved_template(chat: str, tokenizer: PreTrainedTokenizerFast, settings: ChatSettings = PLAIN) -> Any:
    """Return the chat template to save with a model; the tokenizer's own has the values of `settings` as defaults."""
    if chat != "tokenizer":
        return jinja_template(chat)
    from sciriff.models.tokenizer_template import template_of

    text = template_of(tokenizer, settings).saved()
    named = tokenizer.chat_template
    return {**named, "default": text} if isinstance(named, dict) else text


def unseen_day(model: ModelConfig, tokenizer: Any, *, served: bool = False) -> str | None:
    """Say that model.chat_date has no effect, if no template sees it; a server that is asked has a day of its own."""
    if model.chat_date in (None, CHAT_DATE) or model.chat != "tokenizer":
        return None
    why = "the server that is asked writes the day"
    if not served:
        from sciriff.models.tokenizer_template import template_of

        if template_of(tokenizer, model.chat_settings).asks_for_date:
            return None
        why = "the tokenizer's chat template shows none"
    return f"model.chat_date={model.chat_date} has no effect: {why}"


def prompt_ids(
    chat: str, messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast, settings: ChatSettings = PLAIN
) -> list[int]:
    """Return the token ids up to where the assistant answers, a prefix of the training row's. Errors as `Markup`."""
    return Markup(chat, tokenizer, settings).prompt_ids(messages)[0]


def end_ids(chat: str, tokenizer: PreTrainedTokenizerFast, settings: ChatSettings = PLAIN) -> list[int]:
    """Return the token ids that end an answer in generation, the one that training teaches first."""
    others = map(tokenizer.get_vocab().get, _ALSO_ENDS.get(chat, ()))
    ends = [Markup(chat, tokenizer, settings).end_id, tokenizer.eos_token_id, *others]
    return list(dict.fromkeys(end for end in ends if end is not None))


class Markup:
    """The format `chat` (model.chat) with one tokenizer, prepared once for many conversations.

    `render` each conversation, `encode` several at a time (in parallel and without Python's lock, so that another
    thread can render the next), and make a `row` of each. `settings` are for the tokenizer's own template. UserError if
    the tokenizer lacks what `chat` needs.
    """

    def __init__(self, chat: str, tokenizer: PreTrainedTokenizerFast, settings: ChatSettings = PLAIN) -> None:
        self._chat = chat
        self._template: TokenizerTemplate | None = None
        if chat == "tokenizer":
            from sciriff.models.tokenizer_template import template_of

            self._template = template_of(tokenizer, settings)
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = False
        specials = _special_tokens(chat, tokenizer)
        self._special_ids = set(specials.values())
        thoughts = guarded_marks(self._template, tokenizer) if self._template else []
        self._special_starts = _first_characters([*specials, *thoughts])
        self._special_names = dict(tokenizer.special_tokens_map)
        newline, letter, both = self._tokenise(["\n", "a", "\na"])
        self._marks_spaces = both != newline + letter

    def render(self, messages: Sequence[Message], *, to_answer: bool = False) -> Rendered:
        """Return the pieces up to the end of the last answer; with `to_answer` up to where the next one begins.
        Inexpressible where the tokenizer's template has no rendering that training could have."""
        template = self._template
        if template is not None and any(message.role == "assistant" for message in messages):
            messages = [_with_thought(message, template) for message in messages]
        text = "".join([message.content + (message.thought or "") for message in messages])
        cut, edge = _FIRST_MARKS
        if cut in text or edge in text:
            cut, edge = islice((mark for c in _MARK_CODE_POINTS if (mark := chr(c)) not in text), 2)
        if self._special_starts.search(text):
            messages = [self._guarded(message, cut) for message in messages]
        if template is not None:
            if to_answer:
                return Rendered(_split(template.prompt(messages), cut), _answers(messages))
            pieces = template.pieces(messages)
            return Rendered(_split(pieces.texts, cut), pieces.answers, pieces.remark)
        safe = [{"role": message.role, "content": message.content} for message in messages]
        names = self._special_names
        text = _compiled(self._chat).render(messages=safe, add_generation_prompt=to_answer, edge=edge, **names)
        rendered = text.split(edge)
        if not to_answer:
            del rendered[-1]
        remark = Remark(lost_thought=any(message.thought for message in messages))
        return Rendered(_split([[piece] for piece in rendered], cut), _answers(messages), remark)

    def _guarded(self, message: Message, cut: str) -> Message:
        """A message with `cut` inside every name of a special token and every mark of a thought."""

        def guarded(text: str) -> str:
            return self._special_starts.sub(rf"\g<0>{cut}", text)

        thought = None if message.thought is None else guarded(message.thought)
        return Message(message.role, guarded(message.content), thought)

    def encode(self, conversations: Sequence[Rendered]) -> list[list[list[int]]]:
        """Return, for each conversation, the token ids of each of its pieces; all conversations are tokenised together.

        The BOS of our own templates is added by its id, and the text after it tokenised as the beginning of a text, as
        these models were all trained: SentencePiece tokenizers add a space mark there, but not after a BOS in the text.
        """
        bos = (self._tokenizer.bos_token or "") if self._chat != "tokenizer" else ""
        flat = [list(chain.from_iterable(rendered.pieces)) for rendered in conversations]
        beginnings = self._tokenise([texts[0].removeprefix(bos) for texts in flat])
        continuations = iter(self._tokenise_continuations([text for texts in flat for text in texts[1:]]))
        rows = []
        for rendered, texts, first in zip(conversations, flat, beginnings, strict=True):
            bos_ids = [self._tokenizer.bos_token_id] if bos and texts[0].startswith(bos) else []
            ids = chain([bos_ids + first], continuations)
            rows.append([list(chain.from_iterable(islice(ids, len(piece)))) for piece in rendered.pieces])
        return rows

    def row(self, rendered: Rendered, pieces: list[list[int]]) -> TrainingRow:
        """Return the training row of pieces with these ids. Where earlier answers end with another token than the last
        one, the last one alone is learnt. UserError if that does not end as an answer does."""
        ids = np.fromiter(chain.from_iterable(pieces), np.int32, sum(map(len, pieces)))
        targets = np.zeros(len(ids), np.bool_)
        answers = []
        position = start = 0
        remark = rendered.remark
        ends: list[int] = []
        for prompt, answer, messages in zip(pieces[::2], pieces[1::2], rendered.answers, strict=True):
            start = position + len(prompt)
            end = self._end(answer)
            ends.append(answer[end])
            targets[start : start + end + 1] = True
            position = start + len(answer)
            answers.append((messages, position))
        if ends[-1] != self.end_id:
            from sciriff.models.tokenizer_template import Inexpressible

            found, usual = self._tokenizer.convert_ids_to_tokens([ends[-1], self.end_id])
            why = f" ({found}, and others with {usual}), so a model would not learn where to stop"
            raise Inexpressible("ends an answer with a token of its own", why)
        if any(end != self.end_id for end in ends):
            targets[:start] = False
            answers, remark = answers[-1:], remark._replace(alone=True)
        return TrainingRow(ids, targets, answers, remark)

    def prompt_ids(self, *conversations: Sequence[Message]) -> list[list[int]]:
        """Return the token ids of each conversation up to where the assistant answers."""
        pieces = self.encode([self.render(messages, to_answer=True) for messages in conversations])
        return [list(chain.from_iterable(ids)) for ids in pieces]

    def answer_ids(self, text: str) -> list[int]:
        """Return the token ids of an answer that begins with `text`, as training has them after any prompt and
        `before_answer`, without what ends an answer."""
        answer = self.encode([self.render([Message("user", "x"), Message("assistant", text)])])[0][-1]
        return answer[: self._end(answer)]

    @cached_property
    def before_answer(self) -> list[int]:
        """Token ids of the empty thought that the tokenizer's template writes between a prompt and an answer without
        a thought; most have none."""
        if self._template is None:
            return []
        try:
            rendered = self.render([Message("user", "x"), Message("assistant", "x")])
        except UserError:
            return []
        return list(chain.from_iterable(self._tokenise_continuations(rendered.pieces[0][1:])))

    @cached_property
    def end_id(self) -> int:
        """Token id that ends an answer."""
        if self._template is not None:
            [after] = self._tokenise_continuations([self._template.after_answer()])
            return after[self._end(after)]
        _, answer = self.encode([self.render([Message("user", "x"), Message("assistant", "x")])])[0]
        return answer[self._end(answer)]

    def _end(self, answer: list[int]) -> int:
        """Return the index of the token that ends an answer; what the markup adds after it is not learnt."""
        for i in reversed(range(len(answer))):
            if answer[i] in self._special_ids:
                return i
        if self._template is not None:
            from sciriff.models.tokenizer_template import Inexpressible

            raise Inexpressible("ends no answer with a special token", ", so a model would never learn to stop")
        raise UserError(
            f"model.chat={self._chat} ends no answer with a special token of this tokenizer, so a model would never "
            "learn to stop: it has no eos_token"
        )

    def _tokenise(self, texts: Texts) -> list[list[int]]:
        # _fast leaves out the offsets
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _tokenise_continuations(self, texts: Texts) -> list[list[int]]:
        """Token ids of texts that continue another, without the space mark that some tokenizers add before every text.
        With these, each text is tokenised after a single mark character, whose tokens are removed again."""
        if not self._marks_spaces:
            return self._tokenise(texts)
        rows: list[list[int] | None] = [None] * len(texts)
        for mark in ("\n", "\x02", "|"):
            waiting = [i for i, row in enumerate(rows) if row is None]
            head, *marked = self._tokenise([mark] + [mark + texts[i] for i in waiting])
            for i, ids in zip(waiting, marked, strict=True):
                if ids[: len(head)] == head:  # else the mark has merged with the text: try the next
                    rows[i] = ids[len(head) :]
        done = [row for row in rows if row is not None]
        assert len(done) == len(texts), "no mark stands apart from the text"
        return done


def _answers(messages: Sequence[Message]) -> list[int]:
    return [number for number, message in enumerate(messages, 1) if message.role == "assistant"]


def _split(pieces: Iterable[list[str]], cut: str) -> list[Texts]:
    return [list(chain.from_iterable(part.split(cut) for part in piece)) for piece in pieces]


def _with_thought(message: Message, template: TokenizerTemplate) -> Message:
    """A message whose thought, if its text begins with one, is apart, for templates that know thoughts."""
    if message.role != "assistant" or message.thought is not None:
        return message
    thought, content = template.split(message.content)
    if thought is not None and not content:
        from sciriff.models.tokenizer_template import Inexpressible

        raise Inexpressible("has no place for an answer that is a thought alone")
    return message if thought is None else Message(message.role, content, thought)


def guarded_marks(template: TokenizerTemplate, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Tokens that begin or end thoughts under this template and that the tokenizer does not call special: only markup
    may produce them, too."""
    if not template.knows_thoughts:
        return []
    marks = {mark for known in IN_VOCABULARY for mark in (known.start, known.end, known.until)}
    ordinary = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    return sorted(name for name in ordinary if name in marks)


@cache
def _template_lines(chat: str) -> list[str]:
    """The lines of a template file, unindented. `{{ edge }}` marks where an answer begins and where it ends."""
    return [line.strip() for line in (_TEMPLATES / f"{chat}.jinja").read_text(encoding="utf-8").splitlines()]


@cache
def _compiled(chat: str) -> Template:
    from jinja2 import Environment

    return Environment().from_string("".join(_template_lines(chat)))


def _special_tokens(chat: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Name -> id of the tokens that only markup may produce, never the text of a message."""
    specials = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    for token in _STRUCTURE.get(chat, ()):
        token_id = tokenizer.convert_tokens_to_ids(token)  # get_vocab() would take 0.2 s, for every prompt
        if token_id is None or tokenizer.convert_ids_to_tokens(token_id) != token:
            raise UserError(
                f"model.chat={chat} needs the token {token}, which the tokenizer does not have; choose the model.chat "
                "that this model was trained with, or tulu"
            )
        specials[token] = token_id
    return specials


def _first_characters(specials: Iterable[str]) -> re.Pattern[str]:
    """Match the first character of each special token's name in a text; nothing if there are no names."""
    rests: dict[str, list[str]] = {}
    for name in specials:
        rests.setdefault(name[0], []).append(re.escape(name[1:]))
    # A pattern that begins with its character is ten times as fast as one that begins with a lookahead.
    return re.compile("|".join(f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items()) or "(?!)")
