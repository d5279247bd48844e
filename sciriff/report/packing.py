"""Data packed into a page, in parts that its script unpacks one by one when they are looked at.

A part is JSON, compressed with zlib and written in base64, so no text of a model can end the element that holds it.
Prompts repeat instructions and papers: there is one list of their distinct lines, and a prompt is a list of its ranges.
"""

import base64
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from markupsafe import Markup

from sciriff.report.answers import evenly_spaced
from sciriff.run.json_lines import dumps
from sciriff.run.visible import visible

Part = tuple[str, Markup]
"""(id, packed data) of an element of the page."""
Row = TypeVar("Row")
CHUNK = 200_000
"""Characters of JSON in a part from which the next one begins: fast to unpack, and large enough to compress well."""


def packed(name: str, value: Any) -> Part:
    """Any JSON value as an element that `unpack(name)` of page.js reads."""
    return _packed(name, dumps(value))


def _packed(name: str, text: str) -> Part:
    return f"data-{name}", Markup(base64.b64encode(zlib.compress(text.encode(), 9)).decode())


def size_of(parts: Iterable[Part]) -> int:
    """Bytes that parts take in a page."""
    return sum(len(data) for _, data in parts)


def in_chunks(name: str, values: Iterable[Any]) -> Iterable[tuple[Part, int]]:
    """Pack a list into parts `name-0`, `name-1` and so on; yield each with the place of its first value."""
    waiting: list[str] = []
    length = first = number = 0
    for place, value in enumerate(values):
        if length >= CHUNK:
            yield _packed(f"{name}-{number}", f"[{','.join(waiting)}]"), first
            waiting, length, first, number = [], 0, place, number + 1
        waiting.append(dumps(value))
        length += len(waiting[-1])
    if waiting:
        yield _packed(f"{name}-{number}", f"[{','.join(waiting)}]"), first


class PackedPrompts:
    """Distinct prompts as the lines of all of them; those that do not fit into `most` bytes are left out, evenly."""

    def __init__(self, prompts: Sequence[str], most: int) -> None:
        distinct = list(dict.fromkeys(prompts))
        kept = distinct
        while True:
            within = self._pack(kept, most)
            if within == len(kept):
                break
            kept = evenly_spaced(kept, min(int(0.95 * within), len(kept) - 1))
        self.left_out = len(distinct) - len(kept)

    def _pack(self, prompts: Sequence[str], most: int) -> int:
        """Pack until `most` bytes are reached; return how many prompts that were."""
        self.parts: list[Part] = []
        self.starts: list[int] = []
        """First line of each part."""
        self.ranges: dict[str, list[int]] = {}
        """Prompt -> first line and number of lines of each of its ranges, one after the other."""
        lines: dict[str, int] = {}
        begun = 0

        def each() -> Iterable[str]:
            nonlocal begun
            for prompt in prompts:
                begun += 1
                places = []
                for line in visible(prompt).split("\n"):
                    if line not in lines:
                        lines[line] = len(lines)
                        yield line
                    places.append(lines[line])
                self.ranges[prompt] = _ranges(places)

        size = 0
        for part, start in in_chunks("lines", each()):
            self.parts.append(part)
            self.starts.append(start)
            size += len(part[1])
            if size > most:
                return begun - 1
        return len(prompts)


def _ranges(places: list[int]) -> list[int]:
    """[7, 8, 9, 2] as [7, 3, 2, 1]."""
    cuts = [0, *(at + 1 for at, (one, next_) in enumerate(pairwise(places)) if next_ != one + 1), len(places)]
    return [number for start, end in pairwise(cuts) for number in (places[start], end - start)]
