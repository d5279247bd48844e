"""Training rows of single conversations."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from sciriff.models.chat_markup import Markup
from sciriff.run.json_lines import Message


def training_ids(
    chat: str, messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[bool]]:
    """Return the token ids of a conversation that ends with an answer, and their targets."""
    markup = Markup(chat, tokenizer)
    rendered = markup.render(messages)
    row = markup.row(rendered, markup.encode([rendered])[0])
    return row.ids.tolist(), row.targets.tolist()
