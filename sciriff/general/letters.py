"""Multiple choice where a server gives no likelihoods: the model is asked for the letter of its choice."""

import re
from collections.abc import Sequence

from sciriff.data.general_rows import GeneralRequest
from sciriff.run.json_lines import Message

INSTRUCTION = "Answer with the letter of the right choice and nothing else."
LONGEST = 16
"""Most new tokens: room for "The answer is (B)." """
UNLIKELY = -1.0
"""Stands for the log-likelihood of choices that were not written; that of the written one is 0."""


def letter_request(task: str, doc_id: int, messages: Sequence[Message], choices: Sequence[str]) -> GeneralRequest:
    """Ask for one of the letters `choices`: the instruction follows the last message."""
    *before, last = messages
    asked = Message(last.role, f"{last.content}\n\n{INSTRUCTION}")
    return GeneralRequest(task, doc_id, [], [*before, asked], LONGEST)


def chosen(text: str, choices: Sequence[str]) -> int | None:
    """Which of the letters an answer names: the first that stands alone, as in `B`, `(B)` or `B. because`, not as in
    `Because`. None if none does. A capital is meant as it is; a small letter counts where it is the whole answer."""
    letters = [choice.strip().upper() for choice in choices]
    if (bare := text.strip(" \t\r\n().:*").upper()) in letters:
        return letters.index(bare)
    found = re.search(rf"(?<![\w'])({'|'.join(map(re.escape, letters))})(?![\w'])", _without_article(text))
    return letters.index(found[1]) if found else None


def _without_article(text: str) -> str:
    """Remove "A" where it is the article, and "I" where it is who speaks: before a word in small letters other than
    "is"."""
    return re.sub(r"(?<!\w)[AI](?= (?!is\b)[a-z])", "", text)
