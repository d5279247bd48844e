"""Make token ids of a mix, once for all runs that share its rows, tokenizer and markup."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciriff.chat import Markup, Rendered, TrainingRow, jinja_template
from sciriff.digest import value_digest
from sciriff.mix.recipe import text_digest
from sciriff.progress import Progress
from sciriff.records import Conversation, Message, read_jsonl
from sciriff.token_file import write_token_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_CHARACTERS = 1 << 19
"""Conversations are given to the tokenizer in batches of about so much text; its own objects take 30 times that."""

ENCODERS = 2
"""Batches that are tokenised at the same time, so that all cores are busy while the last row of one is not done."""


def markup_digest(chat: str, tokenizer: PreTrainedTokenizerFast) -> str:
    """Digest of all that makes token ids of a conversation: the tokenizer's vocabulary and rules, and the markup."""
    return value_digest(
        {
            "tokenizer": tokenizer.backend_tokenizer.to_str(),
            "special_tokens": {key: str(token) for key, token in tokenizer.special_tokens_map.items()},
            "template": jinja_template(chat) or tokenizer.chat_template,
        }
    )


class Tokeniser:
    """Tokenises conversations, each but once: those that were found to fit wait on disk until the mix is written.

    `scratch` is a folder for that, in which no name appears. ValueError where the tokenizer lacks what `chat` needs.
    """

    def __init__(self, chat: str, tokenizer: PreTrainedTokenizerFast, scratch: Path) -> None:
        self._markup = Markup(chat, tokenizer)
        self._spool = TokenSpool(scratch)

    def fitting(self, conversations: Iterable[Conversation], limit: int, truncate: str) -> list[int | None]:
        """How many of its last messages each conversation must lose to fit into `limit` tokens, markup included.

        With `truncate="turns"` as few as leave whole turns, that is an answer at the end; with `drop` none. None where
        it cannot fit. What the markup cannot express is a ValueError that names the row.
        """
        found: list[int | None] = []
        for conversation, row in self._rows(conversations):
            ends = row.answers if truncate == "turns" else row.answers[-1:]
            messages, tokens = max((end for end in ends if end[1] <= limit), default=(0, 0))
            if messages:
                self._spool.add(conversation.messages[:messages], row.ids[:tokens], row.targets[:tokens])
            found.append(len(conversation.messages) - messages if messages else None)
        return found

    def write(self, mix: Path, rows: int, folder: Path) -> None:
        """Write the tokens of a finished mix (jsonl of so many `rows`) into `folder`, in its own order."""
        progress = Progress(rows)

        def token_rows() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
            tokenised = self._rows(read_jsonl(mix, Conversation), self._spool.get)
            for done, (conversation, row) in enumerate(tokenised, 1):
                assert row.targets.any(), f"{conversation.dataset}/{conversation.id} has nothing to learn"
                yield f"{conversation.dataset}/{conversation.id}", row.ids, row.targets
                progress(done, "rows tokenised")

        write_token_file(folder, token_rows())

    def _rows(
        self,
        conversations: Iterable[Conversation],
        known: Callable[[Sequence[Message]], TrainingRow | None] = lambda messages: None,
    ) -> Iterator[tuple[Conversation, TrainingRow]]:
        """Each conversation with its tokens, in their order; only those are tokenised that are not `known`.

        While batches are tokenised in other threads, this one renders the next and hands on the last.
        """
        with ThreadPoolExecutor(ENCODERS) as encoders:
            waiting: deque[_Batch] = deque()
            for batch in _batches(conversations):
                known_rows = [known(conversation.messages) for conversation in batch]
                rendered = [
                    self._render(conversation)
                    for conversation, row in zip(batch, known_rows, strict=True)
                    if row is None
                ]
                waiting.append(_Batch(batch, known_rows, rendered, encoders.submit(self._markup.encode, rendered)))
                if len(waiting) > ENCODERS:
                    yield from self._finished(waiting.popleft())
            while waiting:
                yield from self._finished(waiting.popleft())

    def _finished(self, batch: _Batch) -> Iterator[tuple[Conversation, TrainingRow]]:
        new = zip(batch.rendered, batch.encoded.result(), strict=True)
        for conversation, row in zip(batch.conversations, batch.known, strict=True):
            if row is None:
                try:
                    row = self._markup.row(*next(new))
                except ValueError as error:
                    raise _of_row(conversation, error) from None
            yield conversation, row

    def _render(self, conversation: Conversation) -> Rendered:
        try:
            return self._markup.render(conversation.messages)
        except ValueError as error:
            raise _of_row(conversation, error) from None


class TokenSpool:
    """Rows of tokens in a temporary file without a name, found again by the messages that they were made of."""

    def __init__(self, folder: Path) -> None:
        self._file = TemporaryFile(dir=folder, buffering=1 << 20)  # noqa: SIM115 - open as long as this object lives
        self._size = 0
        self._places: dict[bytes, tuple[int, int]] = {}

    def add(self, messages: Sequence[Message], ids: np.ndarray, targets: np.ndarray) -> None:
        """Keep a row: its ids (int32), then of each whether it is a target (bool)."""
        self._places[text_digest(messages)] = self._size, len(ids)
        self._size += self._file.write(ids.data) + self._file.write(targets.data)

    def get(self, messages: Sequence[Message]) -> TrainingRow | None:
        """The row of these messages (without the ends of its answers), or None where it was never added."""
        found = self._places.get(text_digest(messages))
        if found is None:
            return None
        place, length = found
        self._file.flush()
        row = os.pread(self._file.fileno(), 5 * length, place)
        return TrainingRow(np.frombuffer(row, np.int32, length), np.frombuffer(row, np.bool_, offset=4 * length), [])


class _Batch(NamedTuple):
    """Conversations on their way through the tokenizer, and the rows of those that need not go there."""

    conversations: list[Conversation]
    known: list[TrainingRow | None]
    rendered: list[Rendered]
    encoded: Future[list[list[list[int]]]]


def _batches(conversations: Iterable[Conversation]) -> Iterator[list[Conversation]]:
    batch: list[Conversation] = []
    characters = 0
    for conversation in conversations:
        batch.append(conversation)
        characters += sum(len(message.content) for message in conversation.messages)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch = []
            characters = 0
    if batch:
        yield batch


def _of_row(conversation: Conversation, error: ValueError) -> ValueError:
    return ValueError(f"{conversation.dataset}/{conversation.id}: {error}")
