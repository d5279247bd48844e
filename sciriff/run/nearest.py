"""The name that somebody may have meant who typed another."""

import difflib
from collections.abc import Iterable


def resembling(word: str, names: Iterable[str], least: float = 0.5) -> str:
    """`; did you mean 'x'?` for the name most like `word`; empty where none is like it, by `least` of 1."""
    close = difflib.get_close_matches(word, sorted(names), n=1, cutoff=least)
    return f"; did you mean {close[0]!r}?" if close else ""


def nearest(word: str, names: Iterable[str]) -> str:
    """The same, with the known names where none is like it."""
    names = sorted(names)
    return resembling(word, names) or f"; it is one of {', '.join(names)}"
