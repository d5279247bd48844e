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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciriff.config import CHAT_FORMATS
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    from jinja2 import Template
    from transformers import PreTrainedTokenizerFast

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
_FIRST_MARKS = chr(_MARK_CODE_POINTS[0]), chr(_MARK_CODE_POINTS[1])
Texts = list[str]
"""Parts of a piece of a rendered conversation, cut inside every special token's name that a message contains: `<` `/s>`
cannot become the EOS token."""


class Rendered(NamedTuple):
    """A conversation as text: pieces that alternate between prompt and answer."""

    pieces: list[Texts]
    answers: list[int]
    """For each answer the number of messages up to and including it."""


class TrainingRow(NamedTuple):
    """Token ids and targets of a conversation."""

    ids: np.ndarray
    """int32, shape (tokens,)."""
    targets: np.ndarray
    """bool, shape (tokens,): the assistant's text and the token that ends it, in every turn; never a role tag."""
    answers: list[tuple[int, int]]
    """For each answer the number of messages and of tokens up to its end; they are those of these messages alone."""


def jinja_template(chat: str) -> str | None:
    """Return the chat template to save with a model, so that other tools render the same; None for `tokenizer`."""
    if chat == "tokenizer":
        return None
    return "".join(line for line in _template_lines(chat) if not line.startswith("{#") and "{{ edge }}" not in line)


def prompt_ids(chat: str, messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the token ids up to where the assistant answers, a prefix of the training row's. Errors as `Markup`."""
    return Markup(chat, tokenizer).prompt_ids(messages)[0]


def end_ids(chat: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the token ids that end an answer in generation, the one that training teaches first."""
    others = map(tokenizer.get_vocab().get, _ALSO_ENDS.get(chat, ()))
    ends = [Markup(chat, tokenizer).end_id, tokenizer.eos_token_id, *others]
    return list(dict.fromkeys(end for end in ends if end is not None))


class Markup:
    """The format `chat` (model.chat) with one tokenizer, prepared once for many conversations.

    `render` each conversation, `encode` several at a time (in parallel and without Python's lock, so that another
    thread can render the next), and make a `row` of each. UserError if the tokenizer lacks what `chat` needs.
    """

    def __init__(self, chat: str, tokenizer: PreTrainedTokenizerFast) -> None:
        self._chat = chat
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = False
        specials = _special_tokens(chat, tokenizer)
        self._special_ids = set(specials.values())
        self._special_starts = _first_characters(specials)
        self._special_names = dict(tokenizer.special_tokens_map)
        newline, letter, both = self._tokenise(["\n", "a", "\na"])
        self._marks_spaces = both != newline + letter

    def render(self, messages: Sequence[Message], *, to_answer: bool = False) -> Rendered:
        """Return the pieces up to the end of the last answer; with `to_answer` up to where the next one begins."""
        text = "".join([message.content for message in messages])
        cut, edge = _FIRST_MARKS
        if cut in text or edge in text:
            cut, edge = islice((mark for c in _MARK_CODE_POINTS if (mark := chr(c)) not in text), 2)
        safe = [{"role": message.role, "content": message.content} for message in messages]
        if self._special_starts.search(text):
            for message in safe:
                message["content"] = self._special_starts.sub(rf"\g<0>{cut}", message["content"])
        answers = [number for number, message in enumerate(messages, 1) if message.role == "assistant"]
        if self._chat == "tokenizer":
            pieces = self._render_with_tokenizer(safe, answers, to_answer=to_answer)
        else:
            names = self._special_names
            text = _compiled(self._chat).render(messages=safe, add_generation_prompt=to_answer, edge=edge, **names)
            pieces = text.split(edge)
            if not to_answer:
                del pieces[-1]
        return Rendered([piece.split(cut) for piece in pieces], answers)

    def encode(self, conversations: Sequence[Rendered]) -> list[list[list[int]]]:
        """Return, for each conversation, the token ids of each of its pieces; all conversations are tokenised together.

        The BOS of our own templates is added by its id, and the text after it tokenised as the beginning of a text, as
        these models were all trained: SentencePiece tokenizers add a space mark there, but not after a BOS in the text.
        """
        bos = (self._tokenizer.bos_token or "") if self._chat != "tokenizer" else ""
        flat = [list(chain.from_iterable(pieces)) for pieces, _ in conversations]
        beginnings = self._tokenise([texts[0].removeprefix(bos) for texts in flat])
        continuations = iter(self._tokenise_continuations([text for texts in flat for text in texts[1:]]))
        rows = []
        for (pieces, _), texts, first in zip(conversations, flat, beginnings, strict=True):
            bos_ids = [self._tokenizer.bos_token_id] if bos and texts[0].startswith(bos) else []
            ids = chain([bos_ids + first], continuations)
            rows.append([list(chain.from_iterable(islice(ids, len(piece)))) for piece in pieces])
        return rows

    def row(self, rendered: Rendered, pieces: list[list[int]]) -> TrainingRow:
        """Return the training row of pieces with these ids. UserError if the answers end differently."""
        ids = np.fromiter(chain.from_iterable(pieces), np.int32, sum(map(len, pieces)))
        targets = np.zeros(len(ids), np.bool_)
        answers = []
        position = 0
        for prompt, answer, messages in zip(pieces[::2], pieces[1::2], rendered.answers, strict=True):
            position += len(prompt)
            end = self._end(answer)
            if answer[end] != self.end_id:
                found, usual = self._tokenizer.convert_ids_to_tokens([answer[end], self.end_id])
                raise UserError(
                    f"model.chat={self._chat} ends this answer with {found} and others with {usual}, so a model would "
                    "not learn where to stop; choose another model.chat"
                )
            targets[position : position + end + 1] = True
            position += len(answer)
            answers.append((messages, position))
        return TrainingRow(ids, targets, answers)

    def prompt_ids(self, *conversations: Sequence[Message]) -> list[list[int]]:
        """Return the token ids of each conversation up to where the assistant answers."""
        pieces = self.encode([self.render(messages, to_answer=True) for messages in conversations])
        return [list(chain.from_iterable(ids)) for ids in pieces]

    def answer_ids(self, text: str) -> list[int]:
        """Return the token ids of an answer that begins with `text`, as training has them after any prompt, without
        what ends an answer."""
        answer = self.encode([self.render([Message("user", "x"), Message("assistant", text)])])[0][-1]
        return answer[: self._end(answer)]

    @cached_property
    def end_id(self) -> int:
        """Token id that ends an answer."""
        _, answer = self.encode([self.render([Message("user", "x"), Message("assistant", "x")])])[0]
        return answer[self._end(answer)]

    def _end(self, answer: list[int]) -> int:
        """Return the index of the token that ends an answer; what the markup adds after it is not learnt."""
        for i in reversed(range(len(answer))):
            if answer[i] in self._special_ids:
                return i
        raise UserError(
            f"model.chat={self._chat} ends no answer with a special token of this tokenizer, so a model would never "
            "learn to stop" + ("; choose another model.chat" if self._chat == "tokenizer" else ": it has no eos_token")
        )

    def _render_with_tokenizer(
        self, messages: list[dict[str, str]], answers: list[int], *, to_answer: bool
    ) -> list[str]:
        """Return the pieces as the tokenizer's own template renders them. It is rendered up to the beginning and the
        end of each answer, to verify that later messages do not change earlier text, which training cannot have."""
        if not self._tokenizer.chat_template:
            fix = "choose another model.chat, such as tulu"
            raise UserError(f"model.chat=tokenizer: this tokenizer has no chat template; {fix}")
        pieces: list[str] = []
        rendered = ""
        ends = [end for answer in answers for end in ((answer - 1, True), (answer, False))]
        for upto, before_answer in [*ends, (len(messages), True)] if to_answer else ends:
            longer = self._apply_chat_template(messages[:upto], add_generation_prompt=before_answer)
            if not longer.startswith(rendered):
                if to_answer:  # Qwen3's drops thoughts: nothing like it is trained, and a prompt is the whole text
                    return [self._apply_chat_template(messages, add_generation_prompt=True)]
                raise UserError(
                    "model.chat=tokenizer: this tokenizer's chat template renders the beginning of a conversation "
                    "differently when more messages follow, so a prompt would differ from what was trained; choose "
                    "another model.chat"
                )
            pieces.append(longer[len(rendered) :])
            rendered = longer
        return pieces

    def _apply_chat_template(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        try:
            options = {"tokenize": False, "add_generation_prompt": add_generation_prompt}
            text = self._tokenizer.apply_chat_template(messages, **options)
        except (TemplateError, TypeError) as error:
            raise UserError(
                f"model.chat=tokenizer: the tokenizer's chat template refuses a conversation ({error}); choose another "
                "model.chat"
            ) from None
        assert isinstance(text, str)
        return text

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
