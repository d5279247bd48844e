"""The markup of each model family: conversations to token ids, for training and for prompts alike.

Nothing else in this project knows a role tag. A conversation is rendered by a chat template (ours, or the tokenizer's
own), cut where each answer begins and ends, and the pieces are tokenised one by one. So no token spans the place where
the assistant begins, and the prompt is, token for token, the beginning of the sequence that was trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from sciriff.config import CHAT_FORMATS
from sciriff.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Tulu: github.com/allenai/open-instruct. The role tags are ordinary text; an answer ends with EOS and a newline.
_TULU = (
    "{{ bos_token | default('', true) }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}"
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
    "{% else %}"
    "{{ ' ' + message['content'] }}{{ eos_token }}"
    "{% endif %}"
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
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] + '<|eot_id|>' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

_QWEN = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# No markup: for base models. Messages that follow each other without an answer between them are set apart.
_GENERAL = (
    "{{ bos_token | default('', true) }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ message['content'] }}{{ eos_token }}"
    "{% else %}"
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
"""Code points from the first private-use area on, to find a character that a conversation does not have."""


def jinja_template(chat: str) -> str | None:
    """The chat template to save with a model, so that other tools render the same text; None for `tokenizer`, which
    keeps its own."""
    return _TEMPLATES.get(chat)


def prompt_ids(chat: str, messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token ids of everything up to where the assistant begins to answer, BOS included where training has it.

    ValueError where the tokenizer lacks what the format `chat` (model.chat) needs.
    """
    begins = _beginnings(_special_tokens(chat, tokenizer))
    pieces = _pieces(chat, messages, tokenizer, begins, to_answer=True)
    return [token for ids, _ in _encoded(chat, [pieces], tokenizer)[0] for token in ids]


def training_ids(
    chat: str, messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation that ends with an answer, and which of them are learnt: what the assistant says and
    the token that ends it, in every turn; never a role tag.

    The ids begin with `prompt_ids` of the messages before each answer. ValueError as there.
    """
    return training_ids_of_many(chat, [messages], tokenizer)[0]


def training_ids_of_many(
    chat: str, conversations: Sequence[Sequence[Message]], tokenizer: PreTrainedTokenizerFast
) -> list[tuple[list[int], list[bool]]]:
    """`training_ids` of each conversation. Many at a time are faster: the tokenizer works on them in parallel."""
    specials = _special_tokens(chat, tokenizer)
    special_ids = set(specials.values())
    begins = _beginnings(specials)
    pieces = [_pieces(chat, messages, tokenizer, begins, to_answer=False) for messages in conversations]
    rows = []
    for row in _encoded(chat, pieces, tokenizer):
        ids: list[int] = []
        targets: list[bool] = []
        for piece, is_answer in row:
            learnt = _end(chat, piece, special_ids) + 1 if is_answer else 0
            ids += piece
            targets += [True] * learnt + [False] * (len(piece) - learnt)
        rows.append((ids, targets))
    return rows


def end_ids(chat: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token ids of which any ends an answer in generation, the one that training teaches first."""
    ids, targets = training_ids(chat, [Message("user", "x"), Message("assistant", "x")], tokenizer)
    ends = [token for token, target in zip(ids, targets, strict=True) if target][-1:]
    if tokenizer.eos_token_id is not None:
        ends.append(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    ends += [vocabulary[token] for token in _ALSO_ENDS.get(chat, ()) if token in vocabulary]
    return list(dict.fromkeys(ends))


def _end(chat: str, piece: list[int], special_ids: set[int]) -> int:
    """Where in the tokens of an answer the one that ends it stands; what the markup sets after it is not learnt."""
    for i in reversed(range(len(piece))):
        if piece[i] in special_ids:
            return i
    raise ValueError(
        f"model.chat={chat} ends no answer with a special token of this tokenizer, so a model would never learn to stop"
        + ("; choose another model.chat" if chat == "tokenizer" else ": it has no eos_token")
    )


def _special_tokens(chat: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The tokens that only markup may produce, never the text of a message."""
    specials = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    for token in _STRUCTURE.get(chat, ()):
        token_id = tokenizer.convert_tokens_to_ids(token)  # get_vocab() would take 0.2 s, for every prompt
        if token_id is None or tokenizer.convert_ids_to_tokens(token_id) != token:
            raise ValueError(
                f"model.chat={chat} needs the token {token}, which the tokenizer does not have; choose the model.chat "
                "that this model was made with, or tulu"
            )
        specials[token] = token_id
    return specials


def _beginnings(specials: Iterable[str]) -> re.Pattern[str]:
    """Matches the first character of each special token's name in a text (nothing where there are no names)."""
    names = "|".join(re.escape(name) for name in specials) or "(?!)"
    return re.compile(f"(?={names})(.)", re.DOTALL)


def _pieces(
    chat: str,
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerFast,
    begins: re.Pattern[str],
    *,
    to_answer: bool,
) -> list[tuple[list[str], bool]]:
    """The rendered conversation, cut before and after each answer: (text, is it an answer). With `to_answer` it ends
    where the assistant would begin.

    Each text is itself a list, cut inside what a message contains of a special token's name: `<` `/s>` cannot become
    the EOS token, whatever a document says.
    """
    cut = next(chr(c) for c in _PRIVATE_USE_ON if not any(chr(c) in message.content for message in messages))
    safe = [{"role": message.role, "content": begins.sub(rf"\1{cut}", message.content)} for message in messages]

    texts: list[tuple[str, bool]] = []
    rendered = ""

    def extend(upto: int, is_answer: bool) -> None:
        nonlocal rendered
        longer = _render(chat, safe[:upto], tokenizer, to_answer=not is_answer)
        if not longer.startswith(rendered):
            raise ValueError(
                f"model.chat={chat}: this tokenizer's chat template renders the beginning of a conversation otherwise "
                "once more messages follow, so a prompt would not be what was trained; choose another model.chat"
            )
        texts.append((longer[len(rendered) :], is_answer))
        rendered = longer

    for i, message in enumerate(messages):
        if message.role == "assistant":
            extend(i, is_answer=False)
            extend(i + 1, is_answer=True)
    if to_answer:
        extend(len(messages), is_answer=False)
    return [(text.split(cut), is_answer) for text, is_answer in texts]


def _render(chat: str, messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerFast, *, to_answer: bool) -> str:
    from jinja2 import TemplateError

    template = jinja_template(chat)
    if template is None and not tokenizer.chat_template:
        raise ValueError(f"model.chat={chat}: this tokenizer has no chat template; choose another model.chat, as tulu")
    try:
        text = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=to_answer
        )
    except (TemplateError, TypeError) as error:
        raise ValueError(f"model.chat={chat}: the tokenizer's chat template refuses a conversation ({error})") from None
    assert isinstance(text, str)
    return text


def _encoded(
    chat: str, conversations: list[list[tuple[list[str], bool]]], tokenizer: PreTrainedTokenizerFast
) -> list[list[tuple[list[int], bool]]]:
    """The pieces of each conversation as token ids, all tokenised in one call.

    The BOS of our own templates is set by its id and the text behind it tokenised as the beginning of a text, as all
    these models were trained: SentencePiece tokenizers put a space mark there, but not behind a BOS in the text.
    """
    bos = (tokenizer.bos_token or "") if chat != "tokenizer" else ""
    firsts: list[str] = []
    others: list[str] = []
    has_bos: list[bool] = []
    for pieces in conversations:
        first, *rest = [text for texts, _ in pieces for text in texts]
        has_bos.append(bos != "" and first.startswith(bos))
        firsts.append(first.removeprefix(bos))
        others += rest
    first_ids = iter(_tokenised(firsts, tokenizer))
    other_ids = iter(_continued(others, tokenizer))
    rows = []
    for pieces, with_bos in zip(conversations, has_bos, strict=True):
        row = []
        for number, (texts, is_answer) in enumerate(pieces):
            ids = []
            if number == 0:
                ids = ([tokenizer.bos_token_id] if with_bos else []) + next(first_ids)
            for more in islice(other_ids, len(texts) - (number == 0)):
                ids += more
            row.append((ids, is_answer))
        rows.append(row)
    return rows


def _tokenised(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    if not texts:
        return []
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]


def _continued(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Token ids of texts that continue another: without the space mark that some tokenizers put before every text.

    Where a tokenizer does, each text is tokenised behind a mark of one character, whose tokens are taken off again.
    """
    newline, letter, both = _tokenised(["\n", "a", "\na"], tokenizer)
    if both == newline + letter:
        return _tokenised(texts, tokenizer)
    rows: list[list[int] | None] = [None] * len(texts)
    for mark in ("\n", "\x02", "|"):
        waiting = [i for i, row in enumerate(rows) if row is None]
        head, *marked = _tokenised([mark] + [mark + texts[i] for i in waiting], tokenizer)
        for i, ids in zip(waiting, marked, strict=True):
            if ids[: len(head)] == head:  # else the mark has merged with the text: the next mark
                rows[i] = ids[len(head) :]
    done = [row for row in rows if row is not None]
    assert len(done) == len(texts), "no mark stands apart from the text"
    return done
