"""What a value may be: each check ends in one line that names the key and what is allowed."""

import difflib
import math
from collections.abc import Iterable

from sciriff.run.user_error import UserError


def nearest(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the name most like `word`, or the names there are where none is like it."""
    names = sorted(names)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; it is one of {', '.join(names)}"


def one_of(key: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{key}={value} is not known{nearest(str(value), map(str, allowed))}")


def finite(key: str, value: float | None) -> None:
    if value is not None and not math.isfinite(value):
        raise UserError(f"{key}={value} must be a number that is finite")


def at_least(key: str, value: float | None, least: float) -> None:
    finite(key, value)
    if value is not None and value < least:
        raise UserError(f"{key}={value} is too small: it must be {least} or more")


def number_or(key: str, value: object, least: int, words: tuple[object, ...]) -> None:
    """A field that holds a word or a whole number (OmegaConf cannot merge a union into a section still missing)."""
    if isinstance(value, int) and not isinstance(value, bool):
        at_least(key, value, least)
    elif value not in words:
        raise UserError(f"{key}={value} must be {', '.join(map(str, words))} or a whole number of {least} or more")


def above_zero(key: str, value: float | None) -> None:
    finite(key, value)
    if value is not None and value <= 0:
        raise UserError(f"{key}={value} must be above 0")
