"""Join the tokens of a treebank-like tokenizer to text, as a person would write it, or nearly."""

import re
from collections.abc import Iterable

SPACING = (
    (r"\s+(?=[.,!?;:])", ""),
    (r"\s+-\s+", "-"),
)
"""Blanks that a tokenizer put before punctuation and around hyphens; only running text gets these repairs."""

SYMBOLS = (
    (r"(?<=\d)\s+%", "%"),
    (r"``\s?(.*?)\s?''", r"'\1'"),  # a pair of double quotes becomes single ones
    (r"''\s?(.*?)\s?''", r"'\1'"),
    (r"' (.*?) '", r"'\1'"),  # between two quotations it joins the wrong blanks, and is kept so
    (r"\s?-LRB-\s?", "("),
    (r"\s?-RRB-\s?", ")"),
    # Each of the next two takes in the character that it looks at, so of two brackets in a row one is passed over.
    (r"\)([^\s.,;:])", r") \1"),
    (r"(\S)\(", r"\1 ("),
    (r"\(\s+", "("),
    (r"\s+\)", ")"),
)
"""Signs that the Penn Treebank writes differently, in the order of the repairs."""


def running_text(sentences: Iterable[Iterable[str]]) -> str:
    """Join all sentences of a document."""
    return written(_replaced(SPACING, " ".join(" ".join(sentence) for sentence in sentences)))


def written(text: str) -> str:
    """Repair percent signs, quotes and brackets."""
    return _replaced(SYMBOLS, text)


def _replaced(repairs: tuple[tuple[str, str], ...], text: str) -> str:
    for pattern, replacement in repairs:
        text = re.sub(pattern, replacement, text)
    return text
