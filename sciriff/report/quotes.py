"""Search the prompt for what an answer says to have taken from it: entities, and quotes that are given as evidence."""

import re
import unicodedata
from enum import Enum
from functools import lru_cache

NO_LETTER = re.compile(r"[\W_]+")
LEFT_OUT = re.compile(r"\[\s*(?:\.\.\.|…)\s*\]|\.\.\.|…")
"""Signs for words that a quote leaves out."""
PROMPTS_KEPT = 4
"""Prompts whose words are kept: neighbours are samples or quotes of one prompt."""


class Found(Enum):
    """Where a quote stands."""

    THERE = "in the prompt"
    UNSUPPORTED = "not in the prompt"
    UNKNOWN = "not known"
    """The prompt was cut or is not saved, so that what is not in it may have been in the document."""


def search(quote: str, prompt: str, cut: bool) -> Found | None:
    """Search a quote in a prompt, of which a part was `cut` or not. None for one without a letter or a digit.

    Case, white space, punctuation and the kinds of quotes and hyphens do not matter; a quote may leave words out
    ("...") and may end within a word, as "cell" in "cells".
    """
    parts = [words for part in LEFT_OUT.split(quote) if (words := _words(part)) != " "]
    if not parts:
        return None
    text = _prompt_words(prompt)
    if all(part in text for part in parts):
        return Found.THERE
    return Found.UNKNOWN if cut or text == " " else Found.UNSUPPORTED


def _words(text: str) -> str:
    """The letters and digits of a text, with a space before each word."""
    return " " + NO_LETTER.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


@lru_cache(PROMPTS_KEPT)
def _prompt_words(prompt: str) -> str:
    return _words(prompt)
