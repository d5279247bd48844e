"""Make token ids of a mix, once for all runs that share its rows, tokenizer and markup."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sciriff.config import ChatSettings
from sciriff.data.mix_card import RemarkCard
from sciriff.data.records import Conversation
from sciriff.data.token_file import batches, write_token_file
from sciriff.mix.tally import Found
from sciriff.mix.token_spool import TokenRow, TokenSpool
from sciriff.models.chat_markup import PLAIN, Markup, Rendered, TrainingRow, guarded_marks, jinja_template
from sciriff.models.tokenizer_template import Inexpressible, template_of
from sciriff.run.digest import value_digest
from sciriff.run.json_lines import record_of, to_json
from sciriff.run.progress import Progress
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_CHARACTERS = 1 << 19
"""Text of a batch of conversations for the tokenizer, whose own objects take 30 times that."""

ONLY_LAST = "the tokenizer's chat template lets only the last of its answers be learnt"

THOUGHT_KEY = b'"thought":'
"""In the line of a row with a thought, and in few others."""

MOST_KINDS = 20
"""Messages of a template that are told apart in the counts of rows that it refuses: some name what is in a row."""

Encoded = list[list[list[int]]]
"""For each conversation the token ids of each piece."""

ENCODERS = 2
"""Batches tokenised at the same time, so that all cores are busy while the last row of one is not done."""


def markup_digest(chat: str, tokenizer: PreTrainedTokenizerFast, settings: ChatSettings = PLAIN) -> str:
    """Digest of the tokenizer's vocabulary and rules and of the markup. The day counts only if the template asks."""
    about: dict[str, Any] = {}
    if chat == "tokenizer":
        template = template_of(tokenizer, settings)
        about = template.about
        if marks := guarded_marks(template, tokenizer):
            about["guarded"] = marks
    return value_digest(
        about
        | {
            "tokenizer": tokenizer.backend_tokenizer.to_str(),
            "special_tokens": {key: str(token) for key, token in tokenizer.special_tokens_map.items()},
            "template": jinja_template(chat) or tokenizer.chat_template,
        }
    )


class Tokeniser:
    """Tokenises each conversation once: those that fit wait on disk until the mix is written.

    `scratch` is a folder for that, in which no name appears; `settings` and `on_bad_row` (of the mix) are for the
    tokenizer's own template. UserError if the tokenizer lacks what `chat` needs.
    """

    def __init__(
        self,
        chat: str,
        tokenizer: PreTrainedTokenizerFast,
        scratch: Path,
        settings: ChatSettings = PLAIN,
        on_bad_row: str = "error",
    ) -> None:
        self._markup = Markup(chat, tokenizer, settings)
        self._spool = TokenSpool(scratch)
        self._on_bad_row = on_bad_row
        self._kinds: dict[str, set[str]] = {}
        """For each reason why rows were refused what the template said of them, as far as it is told apart."""
        self.may_refuse = chat == "tokenizer"
        """Whether the markup may have no form for a row."""

    def fitting(self, conversations: Iterable[Conversation], limit: float, truncate: str) -> list[int | str | None]:
        """Return how many last messages each conversation must lose to fit `limit` tokens, markup included.

        None if it cannot fit; the reason if the markup cannot express it, which is a UserError that names the row
        unless mix.on_bad_row leaves such rows out. With `truncate="turns"` the rest ends with an answer; with `drop` no
        message may be lost.
        """
        return [self._fit(conversation, row, limit, truncate) for conversation, row in self._tokenised(conversations)]

    def _fit(
        self, conversation: Conversation, row: TrainingRow | Inexpressible, limit: float, truncate: str
    ) -> int | str | None:
        if isinstance(row, Inexpressible):
            return self._kind(row)
        if row.remark.alone and self._on_bad_row == "only_whole":
            return ONLY_LAST
        ends = row.answers if truncate == "turns" else row.answers[-1:]
        messages, tokens = max((end for end in ends if end[1] <= limit), default=(0, 0))
        if messages:
            kept = replace(conversation, messages=conversation.messages[:messages])
            self._keep(kept, row, tokens)
            return len(conversation.messages) - messages
        if row.remark.alone and truncate == "turns":  # its earlier answers are no part of this row
            return self._fit_beginning(conversation, limit)
        return None

    def _kind(self, row: Inexpressible) -> str:
        """The reason by which a row is counted, with the template's own words: one template may refuse for several."""
        kinds = self._kinds.setdefault(row.reason, set())
        if len(kinds) < MOST_KINDS:
            kinds.add(row.details)
        return f"{row.reason}{row.details if row.details in kinds else ' (for other reasons)'}"

    def _fit_beginning(self, conversation: Conversation, limit: float) -> int | None:
        """`_fit` where each answer has a row of its own: find the last that fits by halving, for more messages are more
        tokens as a rule."""
        answers = [n for n, message in enumerate(conversation.messages, 1) if message.role == "assistant"]
        found = None
        low, high = 0, len(answers) - 1  # the whole does not fit
        while low < high:
            middle = (low + high) // 2
            kept = replace(conversation, messages=conversation.messages[: answers[middle]])
            row = self._row(kept)
            if row is not None and len(row.ids) <= limit:
                found, low = (kept, row), middle + 1
            else:
                high = middle
        if found is None:
            return None
        kept, row = found
        self._keep(kept, row, len(row.ids))
        return len(conversation.messages) - len(kept.messages)

    def _row(self, conversation: Conversation) -> TrainingRow | None:
        """The row of a single conversation, None if the markup cannot express it."""
        try:
            rendered = self._markup.render(conversation.messages)
            [pieces] = self._markup.encode([rendered])
            return self._markup.row(rendered, pieces)
        except Inexpressible:
            return None

    def _keep(self, conversation: Conversation, row: TrainingRow, tokens: int) -> None:
        self._spool.add(conversation, row.ids[:tokens], row.targets[:tokens], row.remark)

    def lengths(self, conversations: Iterable[Conversation]) -> list[int]:
        """Tokens of conversations that `fitting` has let in, as they are now."""
        return [self._spool.length(to_json(conversation).encode()) for conversation in conversations]

    def remarks(self, mix: Path) -> RemarkCard:
        """Count the rows of a finished mix of which not all is learnt."""
        alone, lost, empty = Found(), Found(), Found()
        with mix.open("rb") as file:
            for number, line in enumerate(file, 1):
                remark = self._spool.remark(line.rstrip(b"\n"))
                without_place = not self.may_refuse and THOUGHT_KEY in line
                if remark is None and not without_place:
                    continue
                row = record_of(line, Conversation, mix, number)
                if remark and remark.alone:
                    alone.add(row.name)
                if remark and remark.empty_thought:
                    empty.add(row.name)
                if (remark and remark.lost_thought) or (without_place and any(m.thought for m in row.messages)):
                    lost.add(row.name)
        counts: RemarkCard = {}
        if alone.rows:
            counts["last_answer_alone"] = {"rows": alone.rows, "first": alone.first}
        if lost.rows:
            counts["without_thought"] = {"rows": lost.rows, "first": lost.first}
        if empty.rows:
            counts["empty_thought"] = {"rows": empty.rows, "first": empty.first}
        return counts

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
                    assert not isinstance(row, Inexpressible), f"{conversation.name} was refused before"
                    yield TokenRow(conversation.name, row.ids, row.targets)

    def _tokenised(
        self, conversations: Iterable[Conversation]
    ) -> Iterator[tuple[Conversation, TrainingRow | Inexpressible]]:
        """Yield each conversation with its tokens, in order. Other threads tokenise while this one renders the next."""
        with ThreadPoolExecutor(ENCODERS) as encoders:
            waiting: deque[tuple[list[Conversation], list[Rendered | Inexpressible], Future[Encoded]]] = deque()
            for batch in batches(conversations, _characters, BATCH_CHARACTERS):
                rendered = [self._rendered(conversation) for conversation in batch]
                texts = [one for one in rendered if isinstance(one, Rendered)]
                waiting.append((batch, rendered, encoders.submit(self._markup.encode, texts)))
                if len(waiting) > ENCODERS:
                    yield from self._finished(*waiting.popleft())
            while waiting:
                yield from self._finished(*waiting.popleft())

    def _rendered(self, conversation: Conversation) -> Rendered | Inexpressible:
        with _naming(conversation):
            try:
                return self._markup.render(conversation.messages)
            except Inexpressible as error:
                return self._refused(error)

    def _finished(
        self, batch: list[Conversation], rendered: list[Rendered | Inexpressible], encoded: Future[Encoded]
    ) -> Iterator[tuple[Conversation, TrainingRow | Inexpressible]]:
        pieces = iter(encoded.result())
        for conversation, text in zip(batch, rendered, strict=True):
            row: TrainingRow | Inexpressible
            if isinstance(text, Inexpressible):
                row = text
            else:
                with _naming(conversation):
                    try:
                        row = self._markup.row(text, next(pieces))
                    except Inexpressible as error:
                        row = self._refused(error)
            yield conversation, row

    def _refused(self, error: Inexpressible) -> Inexpressible:
        if self._on_bad_row == "error":
            raise UserError(f"{error}, or leave such rows out with mix.on_bad_row=drop") from None
        return error


def _characters(conversation: Conversation) -> int:
    return sum(len(message.content) + len(message.thought or "") for message in conversation.messages)


@contextmanager
def _naming(conversation: Conversation) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{conversation.name}: {error}") from None
