"""Make token ids of a mix, once for all runs that share its rows, tokenizer and markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sciriff.chat import jinja_template, training_ids_of_many
from sciriff.digest import value_digest
from sciriff.progress import Progress
from sciriff.records import Conversation, Message, read_jsonl
from sciriff.token_file import write_token_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_ROWS = 256


def markup_digest(chat: str, tokenizer: PreTrainedTokenizerFast) -> str:
    """Digest of all that makes token ids of a conversation: the tokenizer's vocabulary and rules, and the markup."""
    return value_digest(
        {
            "tokenizer": tokenizer.backend_tokenizer.to_str(),
            "special_tokens": {key: str(token) for key, token in tokenizer.special_tokens_map.items()},
            "template": jinja_template(chat) or tokenizer.chat_template,
        }
    )


def lengths(chat: str, conversations: Sequence[Sequence[Message]], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Tokens of each conversation as it is trained, markup included."""
    return [len(ids) for ids, _ in training_ids_of_many(chat, conversations, tokenizer)]


def write_tokens(mix: Path, rows: int, folder: Path, chat: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Tokenise a finished mix (jsonl of so many `rows`) into `folder`, in its own order."""
    write_token_file(folder, _token_rows(read_jsonl(mix, Conversation), rows, chat, tokenizer))


def _token_rows(
    conversations: Iterable[Conversation], total: int, chat: str, tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[str, list[int], list[bool]]]:
    progress = Progress(total)
    done = 0
    rest = iter(conversations)
    while batch := list(islice(rest, BATCH_ROWS)):
        tokenised = training_ids_of_many(chat, [conversation.messages for conversation in batch], tokenizer)
        for conversation, (ids, targets) in zip(batch, tokenised, strict=True):
            assert any(targets), f"{conversation.dataset}/{conversation.id} has nothing to learn"
            yield f"{conversation.dataset}/{conversation.id}", ids, targets
        done += len(batch)
        progress(done, "rows tokenised")
