"""Rows of a source of one's own: each form with a good file and bad ones, whose message names file, line, key and
remedy."""

import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sciriff.config import MixSourceConfig
from sciriff.data.records import Conversation
from sciriff.mix.sources import read_conversations
from sciriff.mix.tally import MixTally
from sciriff.run.user_error import UserError

NAME = "lab"
GOOD_FORMS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "messages": (
        {"messages": [{"role": "user", "content": "Is iron magnetic?"}, {"role": "assistant", "content": "Yes."}]},
        [("user", "Is iron magnetic?"), ("assistant", "Yes.")],
    ),
    "parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Is tin?"}]},
                {"role": "assistant", "content": "No."},
            ]
        },
        [("user", "Is tin?"), ("assistant", "No.")],
    ),
    "sharegpt": (
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "Boil?"},
                {"from": "gpt", "value": "At 100 C."},
                {"from": "human", "value": "In the hills?"},
                {"from": "human", "value": "At 3,000 m?"},
                {"from": "gpt", "value": "At 90 C."},
            ]
        },
        [
            ("system", "Be brief."),
            ("user", "Boil?"),
            ("assistant", "At 100 C."),
            ("user", "In the hills?"),
            ("user", "At 3,000 m?"),
            ("assistant", "At 90 C."),
        ],
    ),
    "sharegpt with roles": (
        {
            "system": "Be exact.",
            "conversations": [{"role": "User", "content": "pH?"}, {"role": "assistant", "content": "7"}],
        },
        [("system", "Be exact."), ("user", "pH?"), ("assistant", "7")],
    ),
    "prompt": ({"prompt": "2 + 3?", "completion": 5}, [("user", "2 + 3?"), ("assistant", "5")]),
    "prompt as messages": (
        {
            "prompt": [{"role": "system", "content": "Count."}, {"role": "user", "content": "Cells?"}],
            "completion": [{"role": "assistant", "content": "Two."}],
        },
        [("system", "Count."), ("user", "Cells?"), ("assistant", "Two.")],
    ),
    "alpaca": (
        {"instruction": "Name the metal.", "input": "Cu, O, H", "output": "Cu"},
        [("user", "Name the metal.\n\nCu, O, H"), ("assistant", "Cu")],
    ),
    "alpaca without input": (
        {"instruction": "Name a gas.", "input": "", "output": "Neon"},
        [("user", "Name a gas."), ("assistant", "Neon")],
    ),
    "input": ({"input": "Melts at 0 C?", "output": "Ice"}, [("user", "Melts at 0 C?"), ("assistant", "Ice")]),
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows in the format that the file's name says; a table has lists as JSON text."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:  # type: ignore[operator]
        if ".csv" in path.suffixes or ".tsv" in path.suffixes:
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(file, names, delimiter="\t" if ".tsv" in path.suffixes else ",")
            writer.writeheader()
            for row in rows:
                writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
        elif path.suffix == ".json":
            json.dump(rows, file)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def read(path: Path, on_bad_row: str = "error", tally: MixTally | None = None, **settings: Any) -> list[Conversation]:
    source = MixSourceConfig(path=str(path), **settings)
    return list(read_conversations(NAME, source, on_bad_row, tally if tally is not None else MixTally()))


def turns(row: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in row.messages]


def refused(path: Path, **settings: Any) -> str:
    """The message with which a source is refused: one line without control characters."""
    with pytest.raises(UserError) as caught:
        read(path, **settings)
    message = str(caught.value)
    assert message.isprintable(), message
    return message


NOT_IN = {"prompt as messages": ("csv", "csv.gz", "tsv"), "parts": ("parquet",)}
"""Where a prompt is always text, and where a column has one type."""


@pytest.mark.parametrize(
    ("form", "suffix"),
    [
        (form, suffix)
        for form in GOOD_FORMS
        for suffix in ("jsonl", "jsonl.gz", "json", "parquet", "csv", "csv.gz", "tsv")
        if suffix not in NOT_IN.get(form, ())
    ],
)
def test_each_form_in_each_format(tmp_path: Path, form: str, suffix: str) -> None:
    row, expected = GOOD_FORMS[form]
    path = write(tmp_path / f"rows.{suffix}", [{**row, "notes": "mine"}] * 2)
    found = read(path)
    assert [turns(one) for one in found] == [expected] * 2
    first = 2 if "csv" in suffix or "tsv" in suffix else 1
    assert [one.name for one in found] == [f"{NAME}/rows.{suffix}:{first + i}" for i in range(2)]


def said(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": text} for who, text in turns]}


def messages(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": who, "content": text} for who, text in turns]}


BAD_ROWS: dict[str, list[tuple[dict[str, Any], list[str]]]] = {
    "messages": [
        (messages(("user", "Hi"), ("assistant", "a"), ("user", "b")), ["`messages`", "not the assistant's", "cut off"]),
        (messages(("assistant", "a")), ["`messages`", "speaks first"]),
        (messages(("user", " "), ("assistant", "a")), ["the text of the user in `messages` is empty", "message 1"]),
        (messages(("user", "Hi"), ("wizard", "a")), ["`messages`", "a role other than", "'wizard'", "name it user"]),
        (messages(("user", "Hi"), ("tool", "a"), ("assistant", "b")), ["`messages`", "turns of tools", "message 2"]),
        ({"messages": "user: Hi"}, ["`messages` is text that is no list in JSON"]),
        ({"messages": [{"role": "user", "text": "Hi"}]}, ["`messages`", "`role` and `content`, or `from` and `value`"]),
        (
            messages(("user", [{"type": "image", "url": "x"}]), ("assistant", "a")),
            ["the text of the user in `messages`", "no text"],
        ),
        (
            {**messages(("system", "s"), ("user", "Hi"), ("assistant", "a")), "system": "other"},
            ["`system` beside a system message", "keep one"],
        ),
    ],
    "conversations": [
        (said(("human", "Hi"), ("gpt", "a"), ("human", "b")), ["`conversations`", "not the assistant's", "cut off"]),
        (said(("gpt", "a"), ("human", "b"), ("gpt", "c")), ["`conversations`", "speaks first", "cut that turn off"]),
        (said(("human", "Hi"), ("gpt", None)), ["the text of the assistant in `conversations` is empty", "message 2"]),
        (said(("human", "Hi"), ("alien", "\x1b[2J")), ["`conversations`", "a role other than", "'alien'", "gpt"]),
        (said(("human", "Hi"), ("function_call", "{}"), ("gpt", "b")), ["`conversations`", "turns of tools"]),
        (said(("human", "a\0b"), ("gpt", "b")), ["the text of the user in `conversations` has a NUL character"]),
        ({"conversations": []}, ["`conversations` is not a list of messages"]),
        ({"conversations": ["Hi", "Hello"]}, ["`conversations` has a message without"]),
    ],
    "prompt": [
        ({"prompt": "", "completion": "a"}, ["`prompt` is empty"]),
        ({"prompt": "Hi", "completion": None}, ["`completion` is empty"]),
        ({"prompt": "Hi", "completion": True}, ["`completion` is true or false", f"mix.sources.{NAME}.columns.compl"]),
        ({"prompt": "Hi", "completion": {"a": 1}}, ["`completion` is not a string"]),
        ({"prompt": "Hi", "completion": [{"role": "user", "content": "a"}]}, ["not the assistant's"]),
        ({"prompt": ["Hi"], "completion": "a"}, ["`prompt` has a message without"]),
        (
            {"prompt": "Hi", "completion": "a", "label": False},
            ["`label`", f"mix.sources.{NAME}.filter={{label: true}}"],
        ),
        ({"prompt": "Hi", "completion": "a", "label": "True"}, ["`label`"]),
        ({"prompt": "Hi", "completion": "a", "id": ["x"]}, ["`id` is not a string"]),
        ({"prompt": "Hi", "completion": "a", "dataset": "x\n"}, ["`dataset` has control characters"]),
    ],
    "instruction": [
        ({"instruction": "Do.", "input": "", "output": ""}, ["`output` is empty"]),
        ({"instruction": " ", "input": "x", "output": "y"}, ["`instruction` is empty"]),
        ({"instruction": "Do.", "input": ["x"], "output": "y"}, ["`input` is a list", ".columns.input=", "join"]),
        ({"instruction": "Do.", "input": "a\ud800", "output": "y"}, ["`input` has lone surrogates"]),
        ({"instruction": "Do.", "output": "y", "history": [["a", "b"]]}, ["`history`", "`messages`"]),
        ({"instruction": "Do.", "input": "x"}, ["of no known form", f"mix.sources.{NAME}.columns="]),
    ],
    "input": [
        ({"input": "", "output": "a"}, ["`input` is empty"]),
        ({"input": "Hi", "output": float("nan")}, ["`output`"]),
        ({"input": "Hi", "output": "a", "_instance_id": "no colon"}, ["`_instance_id` is not task:split:index"]),
        ({"input": "Hi", "output": ["a", "b"]}, ["`output`"]),
        ({"input": "Hi", "output": "a", "system": {"a": 1}}, ["`system` is not a string"]),
    ],
}
GOOD_ROW = {form.partition(" ")[0]: row for form, (row, _) in reversed(GOOD_FORMS.items())} | {
    "conversations": GOOD_FORMS["sharegpt"][0],
    "instruction": GOOD_FORMS["alpaca"][0],
}


@pytest.mark.parametrize(
    ("form", "number"), [(form, number) for form, bad in BAD_ROWS.items() for number in range(len(bad))]
)
def test_a_bad_row_names_its_line_key_and_remedy(tmp_path: Path, form: str, number: int) -> None:
    bad, words = BAD_ROWS[form][number]
    path = write(tmp_path / "rows.jsonl", [GOOD_ROW[form], bad])
    message = refused(path)
    assert message.startswith(f"{path}:2: ") and "mix.on_bad_row=drop" in message
    assert all(word in message for word in words), message
    tally = MixTally()
    assert len(read(path, "drop", tally)) == 1 and sum(tally.reasons.values()) == 1
    assert not re.search(r"message \d", next(iter(tally.reasons)))  # else there would be as many reasons as rows


def test_the_rows_of_the_document_are_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "mixes.md").read_text()
    table = text.partition("## Forms of rows")[2].partition("## Files")[0]
    rows = [json.loads(row) for row in re.findall(r"\| `(\{.*?\})` \|", table)]
    assert len(rows) == 6 and len(read(write(tmp_path / "rows.jsonl", rows))) == 6


def test_rows_of_several_forms_in_one_source(tmp_path: Path) -> None:
    rows = [row for form, (row, _) in GOOD_FORMS.items() if form != "parts"]
    found = read(write(tmp_path / "rows.jsonl", rows))
    assert [turns(one) for one in found] == [expected for form, (_, expected) in GOOD_FORMS.items() if form != "parts"]
    both = {**GOOD_FORMS["messages"][0], "prompt": "other", "completion": "text"}
    assert turns(read(write(tmp_path / "both.jsonl", [both]))[0]) == GOOD_FORMS["messages"][1]


def test_what_is_missing_in_a_table_does_not_count(tmp_path: Path) -> None:
    """Tables have every column for every row, and pandas has NaN where there is nothing."""
    nothing = float("nan")
    table = pa.table(
        {
            "id": [7, 8, 9],
            "messages": pa.array([None, GOOD_FORMS["messages"][0]["messages"], None]),
            "prompt": ["2 + 3?", None, "4 + 4?"],
            "completion": [5.5, nothing, 8.0],
            "system": [None, None, ""],
            "dataset": ["sums", None, ""],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet")
    assert [one.name for one in found] == ["sums/7", f"{NAME}/8", f"{NAME}/9"]
    assert [turns(one)[-1][1] for one in found] == ["5.5", "Yes.", "8.0"]
    pq.write_table(pa.table({"prompt": ["x", "y"], "completion": [1.0, nothing]}), tmp_path / "rows.parquet")
    assert "rows.parquet: row 2: `completion`" in refused(tmp_path / "rows.parquet")


def test_ids_of_sciriff_and_of_ones_own(tmp_path: Path) -> None:
    row = {"input": "q", "output": "a"}
    named = {**row, "_instance_id": "acid_qa:train:3", "dataset": "other"}
    also = {"prompt": "q", "completion": "a", "_instance_id": "base_qa:train:1"}
    others = [{**row, "id": 12}, {**row, "id": "x", "dataset": "acids"}, also]
    path = write(tmp_path / "rows.jsonl", [named, row, *others])
    names = [
        "science.acid_qa/acid_qa:train:3",
        f"{NAME}/rows.jsonl:2",
        f"{NAME}/12",
        "acids/x",
        "science.base_qa/base_qa:train:1",
    ]
    assert [one.name for one in read(path)] == names
    (tmp_path / "elsewhere").mkdir()
    moved = write(tmp_path / "elsewhere" / "rows.jsonl", [row])
    assert read(moved)[0].name == f"{NAME}/rows.jsonl:1"
    odd = write(tmp_path / "\x1b[2J\n.jsonl", [row])
    assert read(odd)[0].id == "␛[2J␊.jsonl:1"


def test_thoughts_come_in_messages_or_in_a_column(tmp_path: Path) -> None:
    thinking = {"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}
    rows = [
        {"messages": [{"role": "user", "content": "2 + 2?"}, thinking]},
        {"prompt": "2 + 2?", "completion": "4", "thought": "2 and 2"},
    ]
    tally = MixTally()
    found = read(write(tmp_path / "rows.jsonl", rows), tally=tally)
    assert [one.messages[-1].thought for one in found] == ["2 and 2"] * 2
    assert not tally.read_with_other_thoughts.rows
    thinking["reasoning"] = {"effort": "low"}  # type: ignore[assignment]
    read(write(tmp_path / "rows.jsonl", rows), tally=tally)
    assert tally.read_with_other_thoughts.rows == 1


def test_the_three_published_sources_are_read_as_they_were(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [GOOD_FORMS["prompt"][0]])
    for name in ("sciriff", "tulu", "published"):
        with pytest.raises(UserError, match="neither `messages` nor `input` and `output`; fix it, or leave"):
            list(read_conversations(name, MixSourceConfig(path=str(path)), "error", MixTally()))
    columns = {"prompt": "prompt", "completion": "completion"}
    source = MixSourceConfig(path=str(path), columns=columns)
    assert [one.dataset for one in read_conversations("tulu", source, "error", MixTally())] == ["tulu"]


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.parquet", "rows.csv.gz"])
def test_half_a_file_stops_the_build_whatever_is_dropped(tmp_path: Path, name: str) -> None:
    rows = [{"prompt": f"{i * i}?", "completion": f"{i}" * 50} for i in range(3000)]
    path = write(tmp_path / name, rows)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"rows\..*: damaged or only half there.*; fetch it again"):
        read(path, "drop")


def test_tables_beside_rows_are_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [GOOD_ROW["prompt"]])
    write(tmp_path / "train.csv", [GOOD_ROW["prompt"]])
    message = refused(tmp_path)
    assert f"{tmp_path}: tables, such as train.csv" in message and f"mix.sources.{NAME}.path" in message
