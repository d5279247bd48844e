"""Split English text into sentences by a fixed rule, so that the result needs no model and never changes."""

import re

END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s+[\"'“‘(\[]*[A-Z0-9])|\n\s*\n")
"""End of a sentence: stops, with what closes after them, before a capital or a digit; or an empty line."""
ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:[A-Za-z]|e\.g|i\.e|cf|vs|al|approx|resp|ca|fig|figs|eq|eqs|ref|refs|sec|tab|vol|pp|"
    r"dr|prof|mr|mrs|ms|st|jr|inc)\.$",
    re.IGNORECASE,
)
"""An initial or a common abbreviation, whose stop ends no sentence."""


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each sentence, without the white space around it. Every other character is in one."""
    spans = []
    start = 0
    for end in END.finditer(text):
        stop = end.group().startswith(".") and len(end.group()) == 1
        if stop and ABBREVIATION.search(text, max(start, end.end() - 12), end.end()):
            continue
        spans.append((start, end.end()))
        start = end.end()
    spans.append((start, len(text)))
    return [_stripped(text, *span) for span in spans if text[slice(*span)].strip()]


def sentences(text: str) -> list[str]:
    """Return the sentences, without the white space around each."""
    return [text[start:end] for start, end in sentence_spans(text)]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))
