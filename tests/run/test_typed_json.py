"""What is wrong with a file of JSON is said with the key and the value that are there."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest

from sciriff.run.json_lines import Message, dumps, read_jsonl, repair_last_line, to_json, write_jsonl
from sciriff.run.typed_json import FromOne, WrongType, read_json, typed
from sciriff.run.user_error import UserError


class Part(TypedDict):
    rows: int
    share: NotRequired[float]


@dataclass(frozen=True)
class Whole:
    name: str
    parts: dict[str, Part]
    lists: tuple[dict[str, FromOne], ...] = ()


GOOD: dict[str, Any] = {"name": "x", "parts": {"a b.c": {"rows": 1}, "d": {"rows": 2, "share": 1}}, "more": None}


def test_what_fits_is_taken_with_keys_that_nobody_knows() -> None:
    assert typed(GOOD, Whole) == Whole("x", {"a b.c": {"rows": 1}, "d": {"rows": 2, "share": 1.0}})
    assert typed({**GOOD, "name": "\ud800"}, Whole).name == "\ud800", "models emit lone surrogates"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "name=null: expected str"),
        ({"name": 10**400}, "name=10000000000000000000: expected str"),
        ({"parts": [1]}, "parts=list: expected object"),
        ({"parts": {"a b.c": {"rows": 1}, "d": {"rows": True}}}, "parts.d.rows=true: expected int"),
        ({"parts": {"d": {"rows": 1}, "a b.c": {}}}, "parts.a b.c.rows is missing"),
        ({"parts": {"a": {"rows": 1, "share": "x" * 99}}}, 'parts.a.share="xxxxxxxxxxxxxxxxxxx: expected float'),
        ({"lists": [{}, {"k": 1, "l": 0}]}, "lists[1].l=0: expected int >= 1"),
        ({"lists": [{}, 5]}, "lists[1]=5: expected object"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongType) as error:
        typed(GOOD | change, Whole)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "recursion"),
        ("{", "Expecting"),
        ("[]", "found list: expected object"),
        ("{}", "name is missing"),
    ],
)
def test_a_file_is_named_with_the_way_out(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"file\.json: not a whole \(.*{reason}.*\); make it again$"):
        read_json(path, Whole, "a whole", "make it again")


def test_a_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"role": "user", "content": "x"}, {"role": "user", "content": None}])
    rows = read_jsonl(path, Message, "write it again")
    assert next(rows) == Message("user", "x")
    with pytest.raises(UserError, match=r"rows\.jsonl:2: content=null: expected str; write it again$"):
        next(rows)


def test_lone_surrogates_and_nan_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [Message("user", "\ud800é")])
    assert list(read_jsonl(path, Message)) == [Message("user", "\ud800é")]
    assert (
        dumps({"loss": float("nan")}) == '{"loss": NaN}'
        and to_json(Message("é", "x")) == '{"role": "é", "content": "x"}'
    )


def test_a_key_with_half_a_character_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"role": "user", "content": "x", "half \\ud800": 1}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl:1: the key 'half \ufffd' has half a character"):
        list(read_jsonl(path, Message))
    with pytest.raises(WrongType):
        typed({"a": "no number", "\ud800": 1}, dict[str, int])
    with pytest.raises(WrongType):
        typed({"\ud800": 1, "a": "no number"}, dict[str, int])


@pytest.mark.parametrize(("end", "kept", "cut"), [('{"a": 1}', 2, False), ('{"a": ', 1, True), ("[1]", 1, True)])
def test_half_a_last_line_is_cut_off(tmp_path: Path, end: str, kept: int, cut: bool) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 0}\n' + end)
    assert repair_last_line(path) is cut
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == kept
