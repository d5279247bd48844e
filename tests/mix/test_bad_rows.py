"""Every kind of bad row in every format: named with its place, or counted and left out."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sciriff.config import MixSourceConfig
from sciriff.mix.sources import read_conversations
from sciriff.mix.tally import MixTally

FORMATS = ["jsonl", "jsonl.gz", "json", "parquet"]
ROWS = 12
"""Rows of each file; the fifth is bad."""


def science(i: int, **changes: object) -> dict:
    return {"input": f"question {i}", "output": f"answer {i}", "_instance_id": f"covid_qa:train:{i}"} | changes


def general(i: int, *turns: tuple[object, object]) -> dict:
    turns = turns or (("user", f"question {i}"), ("assistant", f"answer {i}"))
    return {"dataset": "flan", "id": f"flan_{i}", "messages": [{"role": r, "content": c} for r, c in turns]}


BAD = {
    "`input` is empty": science(4, input=""),
    "`output` is empty": science(4, output=" \n"),
    "`output` is not a string": science(4, output=None),
    "`input` has a NUL character": science(4, input="a\0b"),
    "`_instance_id` is not task:split:index": science(4, _instance_id="covid_qa"),
    "the last message is not the assistant's": general(4, ("user", "a"), ("assistant", "b"), ("user", "c")),
    "a role other than system, user, assistant": general(4, ("human", "a"), ("assistant", "b")),
    "the text of the user is empty": general(4, ("user", ""), ("assistant", "b")),
    "the text of the assistant is not a string": general(4, ("user", "a"), ("assistant", None)),
    "the text of the user has a NUL character": general(4, ("user", "\0"), ("assistant", "b")),
    "the assistant speaks first": general(4, ("assistant", "b")),
}


def rows_with(bad: dict) -> list[dict]:
    make = science if "input" in bad else general
    return [bad if i == 4 else make(i) for i in range(ROWS)]


def write(path: Path, rows: list[dict], damage: bytes | None = None) -> str:
    """Rows in the format that the name says; `damage` takes the place of the word DAMAGE. Returns what the fifth row
    is called in messages."""
    encoded = [json.dumps(row).encode() for row in rows]
    if damage is not None:
        encoded = [row.replace(b"DAMAGE", damage) for row in encoded]
    if path.name.endswith(".parquet"):
        table = pa.Table.from_pylist(rows)
        if damage is not None:
            texts = [row["input"].encode().replace(b"DAMAGE", damage) for row in rows]
            table = table.set_column(0, "input", pa.array(texts, pa.binary()).view(pa.string()))
        pq.write_table(table, path)
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(b"\n".join(encoded)))
    elif path.name.endswith(".json"):
        path.write_bytes(b"[" + b",\n".join(encoded) + b"]")
    else:
        path.write_bytes(b"\n".join(encoded))
    return f"{path}:5" if "jsonl" in path.name else f"{path}: row 5"


def read(path: Path, on_bad_row: str) -> tuple[list[str], MixTally]:
    tally = MixTally()
    rows = read_conversations("published", MixSourceConfig(path=str(path)), on_bad_row, tally)
    return [row.id for row in rows], tally


def check(path: Path, where: str, reason: str, told: str) -> None:
    """The row stops the build with its place, or is counted with its place."""
    with pytest.raises(ValueError) as caught:
        read(path, "error")
    message = str(caught.value)
    assert message.startswith(f"{where}: {told}") and "mix.on_bad_row=drop" in message and "\n" not in message
    ids, tally = read(path, "drop")
    assert len(ids) == tally.kept == ROWS - 1 and tally.read == {"published": ROWS}
    assert tally.reasons == {reason: 1} and tally.dropped[reason].first == [where]
    assert tally.dropped_by_source == {"published": {reason: 1}}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("reason", BAD)
def test_a_row_that_no_model_could_learn_from(tmp_path: Path, reason: str, suffix: str) -> None:
    path = tmp_path / f"train.{suffix}"
    check(path, write(path, rows_with(BAD[reason])), reason, reason)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_row_that_is_not_utf8(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train.{suffix}"
    check(path, write(path, rows_with(science(4, input="x DAMAGE y")), b"\xff\xfe"), "not UTF-8", "not UTF-8")


@pytest.mark.parametrize("suffix", FORMATS[:2])
@pytest.mark.parametrize("damage", [b'"', b'", "b": NaNaN, "c": "', b'"}}', b'": ' + b"[" * 100_000])
def test_a_line_that_is_not_json(tmp_path: Path, suffix: str, damage: bytes) -> None:
    path = tmp_path / f"train.{suffix}"
    check(path, write(path, rows_with(science(4, input="x DAMAGE y")), damage), "not JSON", "not JSON (")


@pytest.mark.parametrize("suffix", FORMATS[:3])
def test_a_row_that_is_no_object(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train.{suffix}"
    rows: list = [science(i) for i in range(ROWS)]
    rows[4] = ["a list"]
    reason = "a row must be a JSON object, and this is of type list"
    check(path, write(path, rows), reason, reason)


@pytest.mark.parametrize("suffix", FORMATS)
def test_control_characters_are_counted_and_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train.{suffix}"
    where = write(path, rows_with(science(4, input="a\x02b\x1f")))
    ids, tally = read(path, "error")
    assert len(ids) == ROWS and tally.read_with_control_characters.first == [where]


@pytest.mark.parametrize("on_bad_row", ["error", "drop"])
@pytest.mark.parametrize("suffix", FORMATS[1:])
def test_half_a_file_is_an_error_always(tmp_path: Path, suffix: str, on_bad_row: str) -> None:
    path = tmp_path / f"train.{suffix}"
    write(path, [science(i, input=f"{i}" * 500) for i in range(200)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ValueError) as caught:
        read(path, on_bad_row)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert ("not JSON" if suffix == "json" else "damaged or only half there") in message
