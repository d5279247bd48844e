"""Make token ids of a mix, once for all runs that share its rows, tokenizer and markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sciriff.chat import jinja_template, training_ids_of_many
from sciriff.digest import value_digest
from sciriff.progress import Progress
from sciriff.records import Conversation, read_jsonl
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


def lengths(chat: str, conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Tokens of each conversation as it is trained, markup included."""
    return [len(ids) for ids, _ in _training_ids(chat, conversations, tokenizer)]


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
        for conversation, (ids, targets) in zip(batch, _training_ids(chat, batch, tokenizer), strict=True):
            assert any(targets), f"{conversation.dataset}/{conversation.id} has nothing to learn"
            yield f"{conversation.dataset}/{conversation.id}", ids, targets
        done += len(batch)
        progress(done, "rows tokenised")


def _training_ids(
    chat: str, conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerFast
) -> list[tuple[list[int], list[bool]]]:
    """`chat.training_ids` of each; what the markup cannot express is a ValueError that names the row."""
    try:
        return training_ids_of_many(chat, [conversation.messages for conversation in conversations], tokenizer)
    except ValueError as error:
        if len(conversations) == 1:
            raise ValueError(f"{conversations[0].dataset}/{conversations[0].id}: {error}") from None
    return [row for conversation in conversations for row in _training_ids(chat, [conversation], tokenizer)]
