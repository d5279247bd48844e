"""Text and names of rows: what a mix takes of them, and how it says why not."""

import re
from collections.abc import Mapping
from typing import Any

from sciriff.models.thought_marks import FIELDS

SCIENCE = "science"
"""Datasets of science rows are called `science.<task>`; Tulu-V2 has some with such names, too."""

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
    """A row that cannot be trained on. The message is the reason by which such rows are counted; `details` are those of
    this one, and `fix` is what to do."""

    def __init__(self, reason: str, details: str = "", fix: str = "fix it") -> None:
        super().__init__(reason)
        self.details = details
        self.fix = fix


def checked_name(name: object, what: str) -> str:
    """Check a name, which is printed to terminals: it may have no control characters and line ends."""
    text = checked_text(name, what)
    if NO_NAME.search(text):
        raise BadRow(f"{what} has control characters")
    return text


def checked_text(text: object, what: str, *, may_be_empty: bool = False) -> str:
    """Return a text that can be trained on; BadRow names `what` it is otherwise."""
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


def thought_of(turn: Mapping[str, Any]) -> str | None:
    """The thought of an answer: the first text that is not empty, since tables have every column for every row."""
    texts = (text for name in THOUGHTS if isinstance(text := turn.get(name), str))
    thought = next((text for text in texts if text.strip()), None)
    return None if thought is None else checked_text(thought, "the thought of the assistant")


def has_controls(text: str) -> bool:
    """Whether a text has control characters other than white space, as papers have that were read out of PDF files."""
    encoded = text.encode()
    return len(encoded.translate(None, C0)) < len(encoded) or (C1_BEGINS in encoded and C1.search(text) is not None)
