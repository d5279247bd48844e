"""Make text of a model or a file safe to show on a page or in a terminal."""

import re

LONGEST = 50_000
"""Characters shown of one text; a hostile or endless answer must not make a page unusable."""
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")
"""Control characters and separators of lines other than newline and tab, those that change the writing direction, and
lone surrogates."""


def visible(text: object) -> str:
    """Cut a long text; show control characters by their pictures (U+2400 and up), the rest of UNSHOWN as U+FFFD."""
    whole = str(text)
    shown = UNSHOWN.sub(_picture, whole[:LONGEST])
    return shown if len(whole) <= LONGEST else f"{shown} … and {len(whole) - LONGEST:,} more characters"


def visible_line(text: object) -> str:
    """Make `visible` text one line, with pictures for newlines and tabs."""
    return visible(text).replace("\n", "\u240a").replace("\t", "\u2409")


def shortened(text: str, longest: int) -> str:
    """Leave out the middle of a text with more than `longest` characters and say how many are missing."""
    if len(text) <= longest:
        return text
    end = longest // 4
    missing = len(text) - longest
    return f"{text[: longest - end]} […, {missing:,} characters are not shown, …] {text[len(text) - end :]}"


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
