"""The markup of each model family: conversations to token ids, for training and for prompts alike.

Nothing else in this project knows a role tag. A conversation is rendered by a chat template (ours, or the tokenizer's
own), cut where each answer begins and ends, and the pieces are tokenised one by one. So no token spans the place where
the assistant begins, and the prompt is, token for token, the beginning of the sequence that was trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciriff.config import CHAT_FORMATS
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    from jinja2 import Template
    from transformers import PreTrainedTokenizerFast

_EDGE = "{% if message['role'] == 'assistant' %}{{ edge }}{% endif %}"
"""Where in our templates an answer begins and where it ends; the templates that are saved with models have none."""

# Tulu: github.com/allenai/open-instruct. The role tags are ordinary text; an answer ends with EOS and a newline.
_TULU = (
    "{{ bos_token | default('', true) }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' }}" + _EDGE + "{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{{ '\\n' }}" + _EDGE + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)

# Llama-2-chat: the system message stands inside the next user turn; an answer follows after a space.
_LLAMA2 = (
    "{{ bos_token | default('', true) }}"
    "{% set ns = namespace(system='You are a helpful and honest assistant.', waiting=true) %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{% set ns.system = message['content'] %}{% set ns.waiting = true %}"
    "{% elif message['role'] == 'user' %}"
    "{{ '[INST] ' }}"
    "{% if ns.waiting %}{{ '<<SYS>>\\n' + ns.system + '\\n<</SYS>>\\n\\n' }}{% set ns.waiting = false %}{% endif %}"
    "{{ message['content'] + ' [/INST]' }}"
    "{% else %}" + _EDGE + "{{ ' ' + message['content'] }}{{ eos_token }}" + _EDGE + "{% endif %}"
    "{% endfor %}"
)

# Llama-3.1-Instruct: the dates are fixed, so that a prompt is the same on every day.
_LLAMA3 = (
    "{{ '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\n' }}"
    "{{ 'Cutting Knowledge Date: December 2023\\nToday Date: 26 Jul 2024\\n\\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}"
    "{{ '<|eot_id|>' }}"
    "{% for message in messages %}"
    "{% if not (loop.first and message['role'] == 'system') %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    + _EDGE
    + "{{ message['content'] + '<|eot_id|>' }}"
    + _EDGE
    + "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

_QWEN = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    + _EDGE
    + "{{ message['content'] + '<|im_end|>\\n' }}"
    + _EDGE
    + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# No markup: for base models. Messages that follow each other without an answer between them are set apart.
_GENERAL = (
    "{{ bos_token | default('', true) }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}" + _EDGE + "{{ message['content'] }}{{ eos_token }}" + _EDGE + "{% else %}"
    "{% if not loop.first and loop.previtem['role'] != 'assistant' %}{{ '\\n\\n' }}{% endif %}"
    "{{ message['content'] }}"
    "{% endif %}"
    "{% endfor %}"
)

_TEMPLATES = {"tulu": _TULU, "llama2": _LLAMA2, "llama3": _LLAMA3, "qwen": _QWEN, "general": _GENERAL}
assert {*_TEMPLATES, "tokenizer"} == set(CHAT_FORMATS)

_STRUCTURE = {
    "llama3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "qwen": ("<|im_start|>", "<|im_end|>"),
}
"""Tokens that a format is made of, besides the tokenizer's BOS and EOS."""

_ALSO_ENDS = {"llama3": ("<|end_of_text|>",), "qwen": ("<|endoftext|>",)}
"""Tokens with which a model may end a text besides the one that ends an answer, where the tokenizer has them."""

_PRIVATE_USE_ON = range(0xE000, 0x110000)
"""Code points from the first private-use area on, to find two characters that a conversation does not have."""

_FIRST_MARKS = chr(_PRIVATE_USE_ON[0]), chr(_PRIVATE_USE_ON[1])

Texts = list[str]
"""A piece of a rendered conversation, cut inside what a message contains of a special token's name: `<` `/s>` cannot
become the EOS token, whatever a document says."""


class Rendered(NamedTuple):
    """A conversation as text: pieces that alternate between what is said to the assistant and what it answers."""

    pieces: list[Texts]
    answers: list[int]
    """For each answer the number of messages up to and with it."""


class TrainingRow(NamedTuple):
    """The tokens of a conversation as it is trained."""

    ids: np.ndarray
    """int32, shape (tokens,)."""
    targets: np.ndarray
    """bool, shape (tokens,): what is learnt, that is what the assistant says and the token that ends it, in every turn;
    never a role tag."""
    answers: list[tuple[int, int]]
    """For each answer how many messages, and how many of the tokens, the conversation has up to its end. So many tokens
    are those of so many messages alone."""


def jinja_template(chat: str) -> str | None:
    """The chat template to save with a model, so that other tools render the same text; None for `tokenizer`, which
    keeps its own."""
    template = _TEMPLATES.get(chat)
    return template and template.replace(_EDGE, "")


def prompt_ids(chat: str, messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token ids of everything up to where the assistant begins to answer, BOS included where training has it.

    UserError where the tokenizer lacks what the format `chat` (model.chat) needs.
    """
    markup = Markup(chat, tokenizer)
    pieces = markup.encode([markup.render(messages, to_answer=True)])[0]
    return list(chain.from_iterable(pieces))


def training_ids(
    chat: str, messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation that ends with an answer, and which of them are learnt (TrainingRow).

    The ids begin with `prompt_ids` of the messages before each answer. UserError as there.
    """
    markup = Markup(chat, tokenizer)
    rendered = markup.render(messages)
    row = markup.row(rendered, markup.encode([rendered])[0])
    return row.ids.tolist(), row.targets.tolist()


def end_ids(chat: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token ids of which any ends an answer in generation, the one that training teaches first."""
    ends = [Markup(chat, tokenizer).end_id]
    if tokenizer.eos_token_id is not None:
        ends.append(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    ends += [vocabulary[token] for token in _ALSO_ENDS.get(chat, ()) if token in vocabulary]
    return list(dict.fromkeys(ends))


class Markup:
    """The format `chat` (model.chat) spoken with one tokenizer: prepared once, for many conversations.

    `render` each, `encode` some at a time (the tokenizer then works on them in parallel, without Python's lock, so that
    another thread can render the next), make a `row` of each. UserError where the tokenizer lacks what `chat` needs.
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
        self._begins = _beginnings(specials)
        self._special_names = dict(tokenizer.special_tokens_map)
        newline, letter, both = self._tokenised(["\n", "a", "\na"])
        self._marks_spaces = both != newline + letter

    def render(self, messages: Sequence[Message], *, to_answer: bool = False) -> Rendered:
        """The pieces up to the end of the last answer, or with `to_answer` up to where the assistant would begin."""
        text = "".join([message.content for message in messages])
        cut, edge = _FIRST_MARKS
        if cut in text or edge in text:
            cut, edge = islice((mark for c in _PRIVATE_USE_ON if (mark := chr(c)) not in text), 2)
        safe = [{"role": message.role, "content": message.content} for message in messages]
        if self._begins.search(text):
            for message in safe:
                message["content"] = self._begins.sub(rf"\g<0>{cut}", message["content"])
        answers = [number for number, message in enumerate(messages, 1) if message.role == "assistant"]
        if self._chat == "tokenizer":
            pieces = self._by_own_template(safe, answers, to_answer=to_answer)
        else:
            names = self._special_names
            text = _compiled(self._chat).render(messages=safe, add_generation_prompt=to_answer, edge=edge, **names)
            pieces = text.split(edge)
            if not to_answer:
                del pieces[-1]
        return Rendered([piece.split(cut) for piece in pieces], answers)

    def encode(self, conversations: Sequence[Rendered]) -> list[list[list[int]]]:
        """For each conversation the token ids of each of its pieces, all tokenised in one call.

        The BOS of our own templates is set by its id and the text behind it tokenised as the beginning of a text, as
        these models were all trained: SentencePiece tokenizers put a space mark there, not behind a BOS in the text.
        """
        bos = (self._tokenizer.bos_token or "") if self._chat != "tokenizer" else ""
        firsts: Texts = []
        others: Texts = []
        has_bos: list[bool] = []
        for pieces, _ in conversations:
            first, *rest = chain.from_iterable(pieces)
            has_bos.append(bos != "" and first.startswith(bos))
            firsts.append(first.removeprefix(bos))
            others += rest
        first_ids, other_ids = self._both(firsts, others)
        rows = []
        for (pieces, _), with_bos in zip(conversations, has_bos, strict=True):
            row: list[list[int]] = []
            for texts in pieces:
                ids = next(other_ids) if row else ([self._tokenizer.bos_token_id] if with_bos else []) + next(first_ids)
                for _ in texts[1:]:
                    ids = ids + next(other_ids)
                row.append(ids)
            rows.append(row)
        return rows

    def row(self, rendered: Rendered, pieces: list[list[int]]) -> TrainingRow:
        """What is trained of a conversation whose pieces have these ids. UserError where an answer does not end as all
        answers do."""
        ids = np.fromiter(chain.from_iterable(pieces), np.int32, sum(map(len, pieces)))
        targets = np.zeros(len(ids), np.bool_)
        answers = []
        place = 0
        for prompt, answer, messages in zip(pieces[::2], pieces[1::2], rendered.answers, strict=True):
            place += len(prompt)
            end = self._end(answer)
            if answer[end] != self.end_id:
                found, usual = self._tokenizer.convert_ids_to_tokens([answer[end], self.end_id])
                raise UserError(
                    f"model.chat={self._chat} ends this answer with {found} and others with {usual}, so a model would "
                    "not learn where to stop; choose another model.chat"
                )
            targets[place : place + end + 1] = True
            place += len(answer)
            answers.append((messages, place))
        return TrainingRow(ids, targets, answers)

    @cached_property
    def end_id(self) -> int:
        """The token that ends an answer."""
        _, answer = self.encode([self.render([Message("user", "x"), Message("assistant", "x")])])[0]
        return answer[self._end(answer)]

    def _end(self, answer: list[int]) -> int:
        """Where in the tokens of an answer the one that ends it stands; what the markup sets after it is not learnt."""
        for i in reversed(range(len(answer))):
            if answer[i] in self._special_ids:
                return i
        raise UserError(
            f"model.chat={self._chat} ends no answer with a special token of this tokenizer, so a model would never "
            "learn to stop" + ("; choose another model.chat" if self._chat == "tokenizer" else ": it has no eos_token")
        )

    def _by_own_template(self, messages: list[dict[str, str]], answers: list[int], *, to_answer: bool) -> list[str]:
        """The pieces as the tokenizer's own template makes them. It is rendered up to the beginning and the end of each
        answer, since nothing less shows that later messages change nothing in what stands before them."""
        if not self._tokenizer.chat_template:
            raise UserError(
                "model.chat=tokenizer: this tokenizer has no chat template; choose another model.chat, as tulu"
            )
        pieces: list[str] = []
        rendered = ""
        ends = [end for answer in answers for end in ((answer - 1, True), (answer, False))]
        for upto, before_answer in [*ends, (len(messages), True)] if to_answer else ends:
            longer = self._by_own_template_once(messages[:upto], add_generation_prompt=before_answer)
            if not longer.startswith(rendered):
                raise UserError(
                    "model.chat=tokenizer: this tokenizer's chat template renders the beginning of a conversation "
                    "otherwise once more messages follow, so a prompt would not be what was trained; choose another "
                    "model.chat"
                )
            pieces.append(longer[len(rendered) :])
            rendered = longer
        return pieces

    def _by_own_template_once(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except (TemplateError, TypeError) as error:
            raise UserError(
                f"model.chat=tokenizer: the tokenizer's chat template refuses a conversation ({error})"
            ) from None
        assert isinstance(text, str)
        return text

    def _tokenised(self, texts: Texts) -> list[list[int]]:
        # _fast only leaves out the offsets, which nobody here asks for
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _both(self, firsts: Texts, others: Texts) -> tuple[Iterator[list[int]], Iterator[list[int]]]:
        """Token ids of texts that begin a conversation, and of those that continue one."""
        if not self._marks_spaces:
            together = self._tokenised(firsts + others)
            return iter(together[: len(firsts)]), iter(together[len(firsts) :])
        return iter(self._tokenised(firsts)), iter(self._continued(others))

    def _continued(self, texts: Texts) -> list[list[int]]:
        """Token ids of texts that continue another, without the space mark that this tokenizer puts before every text:
        each is tokenised behind a mark of one character, whose tokens are taken off again."""
        rows: list[list[int] | None] = [None] * len(texts)
        for mark in ("\n", "\x02", "|"):
            waiting = [i for i, row in enumerate(rows) if row is None]
            head, *marked = self._tokenised([mark] + [mark + texts[i] for i in waiting])
            for i, ids in zip(waiting, marked, strict=True):
                if ids[: len(head)] == head:  # else the mark has merged with the text: the next mark
                    rows[i] = ids[len(head) :]
        done = [row for row in rows if row is not None]
        assert len(done) == len(texts), "no mark stands apart from the text"
        return done


@cache
def _compiled(chat: str) -> Template:
    from jinja2 import Environment

    return Environment().from_string(_TEMPLATES[chat])


def _special_tokens(chat: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The tokens that only markup may produce, never the text of a message."""
    specials = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    for token in _STRUCTURE.get(chat, ()):
        token_id = tokenizer.convert_tokens_to_ids(token)  # get_vocab() would take 0.2 s, for every prompt
        if token_id is None or tokenizer.convert_ids_to_tokens(token_id) != token:
            raise UserError(
                f"model.chat={chat} needs the token {token}, which the tokenizer does not have; choose the model.chat "
                "that this model was made with, or tulu"
            )
        specials[token] = token_id
    return specials


def _beginnings(specials: Iterable[str]) -> re.Pattern[str]:
    """Matches the first character of each special token's name in a text (nothing where there are no names)."""
    rests: dict[str, list[str]] = {}
    for name in specials:
        rests.setdefault(name[0], []).append(re.escape(name[1:]))
    # A pattern that begins with its character is searched for ten times as fast as one that begins with a look ahead.
    return re.compile("|".join(f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items()) or "(?!)")
