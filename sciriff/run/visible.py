"""Text of a model or a file as it can stand on a page or in a terminal."""

import re

LONGEST = 50_000
"""Characters of one text that are shown; a hostile or endless answer must not make a page unusable."""

UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but newline and tab, those that turn the direction of writing, and lone surrogates."""


def visible(text: object) -> str:
    """Long texts cut, control characters as their pictures (U+2400 and up), lone surrogates and characters that turn
    the direction of writing as replacement characters."""
    whole = str(text)
    shown = UNSHOWN.sub(_picture, whole[:LONGEST])
    return shown if len(whole) <= LONGEST else f"{shown} … and {len(whole) - LONGEST:,} more characters"


def visible_line(text: object) -> str:
    """The same on one line, with pictures for its ends and for tabs."""
    return visible(text).replace("\n", "\u240a").replace("\t", "\u2409")


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
