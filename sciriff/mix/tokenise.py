"""Make token ids of a mix, once for all runs that share its rows, tokenizer and markup."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sciriff.data.records import Conversation
from sciriff.data.token_file import batches, write_token_file
from sciriff.mix.token_spool import TokenRow, TokenSpool
from sciriff.models.chat_markup import Markup, Rendered, TrainingRow, jinja_template
from sciriff.run.digest import value_digest
from sciriff.run.json_lines import record_of
from sciriff.run.progress import Progress
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_CHARACTERS = 1 << 19
"""Text of a batch of conversations for the tokenizer, whose own objects take 30 times that."""

ENCODERS = 2
"""Batches tokenised at the same time, so that all cores are busy while the last row of one is not done."""


def markup_digest(chat: str, tokenizer: PreTrainedTokenizerFast) -> str:
    """Digest of the tokenizer's vocabulary and rules and of the markup."""
    return value_digest(
        {
            "tokenizer": tokenizer.backend_tokenizer.to_str(),
            "special_tokens": {key: str(token) for key, token in tokenizer.special_tokens_map.items()},
            "template": jinja_template(chat) or tokenizer.chat_template,
        }
    )


class Tokeniser:
    """Tokenises each conversation once: those that fit wait on disk until the mix is written.

    `scratch` is a folder for that, in which no name appears. UserError if the tokenizer lacks what `chat` needs.
    """

    def __init__(self, chat: str, tokenizer: PreTrainedTokenizerFast, scratch: Path) -> None:
        self._markup = Markup(chat, tokenizer)
        self._spool = TokenSpool(scratch)

    def fitting(self, conversations: Iterable[Conversation], limit: int, truncate: str) -> list[int | None]:
        """Return how many last messages each conversation must lose to fit `limit` tokens, markup included.

        None if it cannot fit. With `truncate="turns"` the rest ends with an answer; with `drop` no message may be lost.
        UserError names a row that the markup cannot express.
        """
        surpluses: list[int | None] = []
        for conversation, row in self._tokenised(conversations):
            ends = row.answers if truncate == "turns" else row.answers[-1:]
            messages, tokens = max((end for end in ends if end[1] <= limit), default=(0, 0))
            if messages:
                kept = replace(conversation, messages=conversation.messages[:messages])
                self._spool.add(kept, row.ids[:tokens], row.targets[:tokens])
            surpluses.append(len(conversation.messages) - messages if messages else None)
        return surpluses

    def write(self, mix: Path, rows: int, folder: Path) -> None:
        """Write the tokens of a finished mix (jsonl of `rows` rows) into `folder`, in its own order."""
        progress = Progress(rows)

        def token_rows() -> Iterator[TokenRow]:
            for done, row in enumerate(self._known_or_tokenised(mix), 1):
                assert row.targets.any(), f"{row.name} has nothing to learn"
                yield row
                progress(done, "rows tokenised")

        write_token_file(folder, token_rows())

    def _known_or_tokenised(self, mix: Path) -> Iterator[TokenRow]:
        """Rows of a mix, from the spool if it has them. As a rule it has all or none."""

        def rows() -> Iterator[TokenRow | Conversation]:
            with mix.open("rb") as file:
                for number, line in enumerate(file, 1):
                    yield self._spool.get(line.rstrip(b"\n")) or record_of(line, Conversation, mix, number)

        for known, some in groupby(rows(), lambda row: isinstance(row, TokenRow)):
            if known:
                yield from cast("Iterator[TokenRow]", some)
            else:
                for conversation, row in self._tokenised(cast("Iterator[Conversation]", some)):
                    yield TokenRow(conversation.name, row.ids, row.targets)

    def _tokenised(self, conversations: Iterable[Conversation]) -> Iterator[tuple[Conversation, TrainingRow]]:
        """Yield each conversation with its tokens, in order. Other threads tokenise while this one renders the next."""
        with ThreadPoolExecutor(ENCODERS) as encoders:
            waiting: deque[tuple[list[Conversation], list[Rendered], Future[list[list[list[int]]]]]] = deque()
            for batch in batches(conversations, _characters, BATCH_CHARACTERS):
                rendered = []
                for conversation in batch:
                    with _naming(conversation):
                        rendered.append(self._markup.render(conversation.messages))
                waiting.append((batch, rendered, encoders.submit(self._markup.encode, rendered)))
                if len(waiting) > ENCODERS:
                    yield from self._finished(*waiting.popleft())
            while waiting:
                yield from self._finished(*waiting.popleft())

    def _finished(
        self, batch: list[Conversation], rendered: list[Rendered], encoded: Future[list[list[list[int]]]]
    ) -> Iterator[tuple[Conversation, TrainingRow]]:
        for conversation, text, pieces in zip(batch, rendered, encoded.result(), strict=True):
            with _naming(conversation):
                row = self._markup.row(text, pieces)
            yield conversation, row


def _characters(conversation: Conversation) -> int:
    return sum(len(message.content) for message in conversation.messages)


@contextmanager
def _naming(conversation: Conversation) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{conversation.name}: {error}") from None
