"""Marks that a person gave to answers in a page, as the page saves them and as comparisons read them.

One JSON file: {"format": "sciriff-marks/1", "marks": [{"run", "task", "instance_id", "sample", "answer", "mark",
"note"}, ...]}. `answer` is a digest of the marked text, so that a mark never sticks to another answer.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from sciriff.data.records import AnswerKey, named
from sciriff.run.json_lines import dumps
from sciriff.run.typed_json import FromOne, parsed_json
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

FORMAT = "sciriff-marks/1"
RIGHT, WRONG, UNCLEAR = "right", "wrong", "unclear"
DIGITS = 16
"""Hexadecimal digits of the SHA-256 of a marked answer."""
MOST_BYTES = 256_000_000
"""A mark has some hundred bytes, and its note perhaps some thousand."""
LONGEST_NAME = 100
"""Characters shown of a name in a message."""
WHAT, FIX = "marks of answers", "save them again in the page"


@dataclass(frozen=True)
class Mark:
    """What a person thinks of one answer."""

    run: str
    """Name of the run as the page shows it."""
    task: str
    instance_id: str
    answer: Annotated[str, Meta(pattern=rf"^[0-9a-f]{{{DIGITS}}}$")]
    """`answer_digest` of the text that was marked."""
    mark: Literal["right", "wrong", "unclear"]
    sample: FromOne = 1
    note: str = ""

    @property
    def key(self) -> AnswerKey:
        return self.instance_id, self.sample


class _Marks(TypedDict):
    format: str
    marks: list[Mark]


class _Format(TypedDict):
    format: str


def answer_digest(text: str) -> str:
    """Digest of an answer's text as it was saved."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def read_marks(path: Path) -> list[Mark]:
    """Read a file of marks in its order. UserError names the file, and the entry and key that is wrong (entries count
    from 0), or two entries about one answer."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file of marks")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise UserError(f"{path}: {size:,} bytes are no file of marks (at most {MOST_BYTES:,})")
    data = path.read_bytes()
    if (found := parsed_json(data, _Format, path, WHAT, FIX)["format"]) != FORMAT:
        shown = visible_line(shortened(found, LONGEST_NAME))
        raise UserError(f"{path}: the format is {shown!r}, and this version reads {FORMAT!r}; {FIX}")
    marks = parsed_json(data, _Marks, path, WHAT, FIX)["marks"]
    first: dict[tuple[str, str, AnswerKey, str], int] = {}
    for place, mark in enumerate(marks):
        earlier = first.setdefault((mark.run, mark.task, mark.key, mark.answer), place)
        if earlier != place:
            shown = visible_line(shortened(named(mark.key), LONGEST_NAME))
            raise UserError(f"{path}: marks[{earlier}] and marks[{place}] are about one answer, {shown}; keep one")
    return marks


def marks_text(marks: Sequence[Mark]) -> str:
    """A file of marks as text, one on each line."""
    return f'{{"format": {json.dumps(FORMAT)}, "marks": [\n{_lines(marks)}\n]}}\n'


def _lines(marks: Iterable[Mark]) -> str:
    return ",\n".join(dumps(asdict(mark)) for mark in marks)
