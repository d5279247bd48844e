"""Turn the raw rows of SciRIFF and Tulu-V2 into conversations, or name the reason why a row cannot be used."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from sciriff.config import SourceConfig
from sciriff.data.records import Conversation
from sciriff.data.source_rows import read_rows
from sciriff.mix.science_filter import ScienceFilter
from sciriff.mix.tally import MixTally
from sciriff.models.thought_marks import FIELDS
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

SCIENCE = "science"
"""Datasets of science rows are called `science.<task>`; Tulu-V2 has some with such names, too."""

ROLES = ("system", "user", "assistant")
THOUGHTS = ("thought", *FIELDS)
"""Names under which rows have the thought before an answer."""

# C0 controls but white space (tab, newline, vertical tab, form feed, return), and delete; C1 controls, which all begin
# with one byte in UTF-8. Bytes are looked through ten times as fast as a pattern is searched for in a text.
C0 = bytes([*range(0x09), *range(0x0E, 0x20), 0x7F])
C1 = re.compile(r"[\x80-\x9f]")
C1_BEGINS = b"\xc2"

NO_NAME = re.compile(r"[\0-\x1f\x7f-\x9f\u2028\u2029]")
"""Controls and ends of lines, which no name may have."""


class BadRow(Exception):
    """A row that cannot be trained on. The message is the reason by which such rows are counted."""


def conversation_of(row: dict[str, Any]) -> Conversation:
    """Convert a raw row; BadRow if a model could not learn from it.

    The keys say what the row is: `messages` with `dataset` and `id` (Tulu-V2 and finished mixes), or `input` and
    `output` with `_instance_id` = `task:split:index` (SciRIFF).
    """
    if "messages" in row:
        return _general(row)
    if "input" in row and "output" in row:
        return _science(row)
    raise BadRow("neither `messages` nor `input` and `output`")


def read_conversations(
    name: str, source: SourceConfig, on_bad_row: str, tally: MixTally, science: ScienceFilter | None = None
) -> Iterator[Conversation]:
    """Stream the conversations of the source `name`; `tally` counts what is read.

    A bad row or a line that cannot be decoded is a UserError with its place and reason; unless `on_bad_row` is `error`,
    it is counted and left out. A file that breaks off is always a UserError. With `science` a row of no science task is
    of one that has the source's name, or of sciriff a bad row, and the filter selects among them.
    """

    def bad_row(where: str, reason: str) -> None:
        if on_bad_row == "error":
            raise UserError(f"{where}: {reason}; fix it, or leave such rows out with mix.on_bad_row=drop")
        tally.drop(reason, where, name)

    def unreadable(where: str, reason: str) -> None:
        tally.read[name] += 1
        # what is wrong differs from line to line, and the tally counts by kind
        bad_row(where, reason if on_bad_row == "error" else reason.partition(" (")[0])

    tally.read[name] = 0
    for where, row in read_rows(source, unreadable, partial(tally.commits.__setitem__, name)):
        tally.read[name] += 1
        try:
            conversation = conversation_of(row)
            if science is not None and not conversation.dataset.startswith(SCIENCE + "."):
                if name == "sciriff":
                    raise BadRow("a general row among the science rows")
                conversation = replace(conversation, dataset=f"{SCIENCE}.{name}")
        except BadRow as bad:
            bad_row(where, str(bad))
            continue
        if any(_has_controls(message.content + (message.thought or "")) for message in conversation.messages):
            tally.read_with_control_characters.add(where)
        if _has_other_thought(row):
            tally.read_with_other_thoughts.add(where)
        task = conversation.dataset.removeprefix(SCIENCE + ".")
        if science is not None and (refusal := science.refusal(task, row, where)):
            tally.drop(refusal, conversation.name, name, conversation.dataset)
        else:
            yield conversation


def _science(row: dict[str, Any]) -> Conversation:
    instance_id = row.get("_instance_id")
    task, colon, _ = str(instance_id).partition(":")
    if not (task and colon and isinstance(instance_id, str)):
        raise BadRow("`_instance_id` is not task:split:index")
    question = Message("user", _text(row["input"], "`input`"))
    answer = Message("assistant", _text(row["output"], "`output`"))
    return Conversation(f"{SCIENCE}.{task}", _name(instance_id, "`_instance_id`"), (question, answer))


def _general(row: dict[str, Any]) -> Conversation:
    row_id, turns = row.get("id"), row["messages"]
    dataset = _name(row.get("dataset"), "`dataset`")
    row_id = _name(str(row_id) if type(row_id) is int else row_id, "`id`")
    if not isinstance(turns, list) or not turns:
        raise BadRow("`messages` is not a list of messages")
    messages = []
    for turn in turns:
        if not isinstance(turn, dict) or "role" not in turn or "content" not in turn:
            raise BadRow("a message without `role` and `content`")
        if (role := turn["role"]) not in ROLES:
            raise BadRow(f"a role other than {', '.join(ROLES)}")
        content = _text(turn["content"], f"the text of the {role}", may_be_empty=role == "system")
        messages.append(Message(role, content, _thought(turn) if role == "assistant" else None))
    if messages[-1].role != "assistant":
        raise BadRow("the last message is not the assistant's")
    if next(message.role for message in messages if message.role != "system") == "assistant":
        raise BadRow("the assistant speaks first")
    return Conversation(dataset, row_id, tuple(messages))


def _thought(turn: dict[str, Any]) -> str | None:
    """The thought of an answer: the first text that is not empty, since tables have every column for every row."""
    texts = (text for name in THOUGHTS if isinstance(text := turn.get(name), str))
    thought = next((text for text in texts if text.strip()), None)
    return None if thought is None else _text(thought, "the thought of the assistant")


def _has_other_thought(row: dict[str, Any]) -> bool:
    """Whether an answer of a usable row has something else than text where thoughts are, such as settings."""
    return any(
        turn.get(name) is not None and not isinstance(turn[name], str)
        for turn in row.get("messages", ())
        if turn["role"] == "assistant"
        for name in THOUGHTS
    )


def _name(name: object, what: str) -> str:
    """Check a name, which is printed to terminals: it may have no control characters and line ends."""
    text = _text(name, what)
    if NO_NAME.search(text):
        raise BadRow(f"{what} has control characters")
    return text


def _text(text: object, what: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(text, str):
        raise BadRow(f"{what} is not a string")
    if not may_be_empty and not text.strip():
        raise BadRow(f"{what} is empty")
    if "\0" in text:
        raise BadRow(f"{what} has a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow(f"{what} has lone surrogates") from None
    return text


def _has_controls(text: str) -> bool:
    encoded = text.encode()
    return len(encoded.translate(None, C0)) < len(encoded) or (C1_BEGINS in encoded and C1.search(text) is not None)
