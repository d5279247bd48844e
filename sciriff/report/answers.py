"""What the model answered: counts over each task's predictions, and the few that the page shows."""

from dataclasses import dataclass
from pathlib import Path

from sciriff.records import Prediction, read_jsonl
from sciriff.tasks import HELD_OUT

LONGEST = 20_000
"""Characters of one text that the page shows; a hostile or endless answer must not make it unusable."""


@dataclass(frozen=True)
class Answers:
    """The predictions of one task, counted."""

    task: str
    n: int
    at_limit: int
    """Answers that ended because they had as many tokens as they may have."""
    truncated: int
    """Prompts that were cut to fit the model."""
    empty: int
    """Answers without a visible character."""
    output_tokens: float | None
    """Mean length, where the engine counted."""
    shown: list[Prediction]


def read_answers(folder: Path, show: int) -> list[Answers]:
    """The held-out tasks that have predictions in `folder`, in their order, with `show` examples of each."""
    found = []
    for task in HELD_OUT:
        path = folder / f"{task.name}.jsonl"
        rows = [_checked(path, row) for row in read_jsonl(path, Prediction)] if path.is_file() else []
        if rows:
            lengths = [row.output_tokens for row in rows if row.output_tokens is not None]
            found.append(
                Answers(
                    task=task.name,
                    n=len(rows),
                    at_limit=sum(row.finish_reason == "length" for row in rows),
                    truncated=sum(bool(row.truncated_tokens) for row in rows),
                    empty=sum(not row.prediction.strip() for row in rows),
                    output_tokens=sum(lengths) / len(lengths) if lengths else None,
                    shown=evenly_spaced(rows, show),
                )
            )
    return found


def _checked(path: Path, row: Prediction) -> Prediction:
    """The row, if its fields are what they are declared to be."""
    texts = (row.instance_id, row.prompt, row.prediction, row.reference, row.finish_reason or "")
    counts = (row.output_tokens, row.truncated_tokens)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int | None) for n in counts):
        raise ValueError(f"{path}: instance {row.instance_id!r} has a text or a number of tokens that is none")
    return row


def evenly_spaced(rows: list[Prediction], count: int) -> list[Prediction]:
    """`count` rows from the middles of as many equal parts, in order; all rows where there are no more."""
    if count >= len(rows):
        return rows
    return [rows[(2 * place + 1) * len(rows) // (2 * count)] for place in range(count)]


def visible(text: object) -> str:
    """A text from a model or a file as it can stand on a page: long ones cut, control characters as their pictures
    (U+2400 and up), lone surrogates and characters that turn the direction of writing as replacement characters."""
    whole = str(text)
    shown = "".join(_visible(character) for character in whole[:LONGEST])
    return shown if len(whole) <= LONGEST else f"{shown} … and {len(whole) - LONGEST:,} more characters"


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x20 and character not in "\n\t":
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    turns_direction = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return "\ufffd" if turns_direction or 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 else character
