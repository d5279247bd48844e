"""Instance, Prediction and the other rows that travel between stages as JSON lines."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sciriff.run.user_error import UserError
from sciriff.run.whole_file import append_lines, whole

AnswerKey = tuple[str, int]
"""Which answer of a task: the instance's id, and the number of the sample, from 1."""


def named(key: AnswerKey) -> str:
    """An answer as people read it: the instance's id, and which sample it is where that is not the first."""
    return key[0] if key[1] == 1 else f"{key[0]} (sample {key[1]})"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """One row of a training mix, in the format of the published SciRIFF-train-mix.

    `dataset` is `science.<task>` or the name of a general source; the last message is the assistant's.
    """

    dataset: str
    id: str
    messages: tuple[Message, ...]

    @property
    def name(self) -> str:
        """As messages and the files of tokens call it."""
        return f"{self.dataset}/{self.id}"


@dataclass(frozen=True)
class Instance:
    """One evaluation example: the instruction with its document, and the answer that is expected."""

    task: str
    instance_id: str
    prompt: str
    reference: str


@dataclass(frozen=True)
class Prediction:
    """What a model answered to one instance. Token counts are those of the model's own tokenizer."""

    task: str
    instance_id: str
    prompt: str
    prediction: str
    reference: str
    finish_reason: str | None = None
    """`stop` (the model ended its answer), `length` (it ran into the limit), `skipped` (the prompt is too long); of a
    server also `refusal`, `content_filter`, or another word of its own."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    truncated_tokens: int = 0
    """How many tokens of the document were cut so that the prompt fits the model."""
    prompt_digest: str | None = None
    """Of all that was given to the model, by which an answer is known to be still that to the same prompt."""
    sample: int | None = None
    """Which of several answers to the same prompt it is, from 1; None where only one is asked for."""

    @property
    def key(self) -> AnswerKey:
        return self.instance_id, self.sample or 1


@dataclass(frozen=True)
class Judgement:
    """What a judge said of one prediction, and how it was read."""

    instance_id: str
    judge: str
    prompt_digest: str
    response: str
    rating: int | None
    """1 to 5, or None where the response could not be read."""
    status: str
    """`rated` or `unreadable`."""
    input_tokens: int = 0
    """By the server's count."""
    output_tokens: int = 0
    usd: float | None = None
    """What the response cost at the price of its day, so that a later start knows what was spent; None where the price
    was not known."""
    sample: int | None = None
    """As that of the prediction."""
    finish_reason: str | None = None
    """As that of a prediction."""
    limit: int | None = None
    """Tokens that the response might have. This and the reason are None where nobody wrote them down."""

    @property
    def key(self) -> AnswerKey:
        return self.instance_id, self.sample or 1


Row = TypeVar("Row", Conversation, Instance, Prediction, Judgement)


_encoded = json.JSONEncoder(ensure_ascii=False).encode


def dumps(row: Any) -> str:
    """One compact JSON line without its newline. Lone surrogates (models do emit them) stay escaped, so it encodes."""
    text = _encoded(row)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(row)
    return text


def to_json(row: Any) -> str:
    """The JSON line of a record, without the `sample` of one that is no sample."""
    values = {name: value for name, value in vars(row).items() if value is not None or name != "sample"}
    if isinstance(row, Conversation):
        values = {**values, "messages": [vars(message) for message in row.messages]}
    return dumps(values)


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write records or plain dicts, whole or not at all."""
    with whole(path) as file:
        for row in rows:
            file.write((dumps(row) if isinstance(row, dict) else to_json(row)) + "\n")


def append_jsonl(path: Path, row: Any) -> None:
    """Add a record to a file, and return when it is on the disk."""
    append_lines(path, [to_json(row) + "\n"])


def mend_last_line(path: Path) -> bool:
    """Make a file that a killed process was writing to end in a whole line. Returns whether half a line was cut off."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return False
    start = data.rfind(b"\n") + 1
    try:
        whole = isinstance(json.loads(data[start:]), dict)
    except (ValueError, RecursionError):
        whole = False
    with path.open("r+b") as file:
        if whole:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        else:
            file.truncate(start)
        file.flush()
        os.fsync(file.fileno())
    return not whole


def read_json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of every non-empty line. UserError names file and line of one that is broken."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, json_object(line, path, number)


def read_jsonl(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Records of one kind. Keys that the record does not have are ignored; a missing one is a UserError."""
    for number, row in read_json_objects(path):
        yield _record(row, kind, path, number)


def record_of(line: bytes, kind: type[Row], path: Path, number: int) -> Row:
    """The record on one line of a file; `path` and `number` (from 1) are for the UserError. As `read_jsonl`."""
    return _record(json_object(line, path, number), kind, path, number)


def json_object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """The object on one line of a file, as `read_json_objects`."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}:{number}: not a line of JSON ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
    return row


def _record(row: dict[str, Any], kind: type[Row], path: Path, number: int) -> Row:
    values = {name: row[name] for name in kind.__dataclass_fields__ if name in row}
    try:
        if kind is Conversation:
            values["messages"] = tuple(Message(m["role"], m["content"]) for m in values["messages"])
        return kind(**values)
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}:{number}: not a {kind.__name__} ({error})") from None
