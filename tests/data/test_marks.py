"""A file of marks is read as it was saved, and what is wrong in it is named by file and entry."""

import hashlib
import json

import pytest

from sciriff.data.marks import Mark, answer_digest, marks_text, read_marks
from sciriff.run.user_error import UserError

MARK = {"run": "base", "task": "scierc_ner", "instance_id": "scierc_ner:validation:3", "answer": "0" * 16}
MARK |= {"mark": "right"}


def written(tmp_path, *marks, **other):
    path = tmp_path / "marks.json"
    path.write_text(json.dumps({"format": "sciriff-marks/1", "marks": list(marks)} | other))
    return path


def test_marks_come_back_as_they_were_saved(tmp_path):
    marks = [
        Mark("base", "scierc_ner", "a:1", answer_digest("[]"), "right"),
        Mark(
            "base", "scierc_ner", "a:1", answer_digest("[]"), "wrong", sample=2, note="two\nlines, \ud800 and “quotes”"
        ),
        Mark("other", "own", "\x1b[31m", answer_digest(""), "unclear", note="?"),
    ]
    path = tmp_path / "marks.json"
    path.write_text(marks_text(marks))
    assert read_marks(path) == marks
    path.write_text(marks_text([]))
    assert read_marks(path) == []


def test_the_digest_is_of_the_bytes_of_the_text():
    assert answer_digest("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()[:16]
    assert answer_digest("\ud800") == hashlib.sha256(b"\xed\xa0\x80").hexdigest()[:16]


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"mark": "maybe"}, ["marks[1].mark", "maybe"]),
        ({"answer": "0123"}, ["marks[1].answer", "0123"]),
        ({"answer": "0" * 15 + "G"}, ["marks[1].answer"]),
        ({"sample": 0}, ["marks[1].sample"]),
        ({"sample": True}, ["marks[1].sample"]),
        ({"instance_id": None}, ["marks[1].instance_id"]),
        ({"note": ["x"]}, ["marks[1].note"]),
    ],
)
@pytest.mark.shows("D4")
def test_a_wrong_entry_is_named(tmp_path, changed, told):
    path = written(tmp_path, MARK, MARK | {"instance_id": "other"} | changed)
    with pytest.raises(UserError) as error:
        read_marks(path)
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in [str(path), *told])


def test_two_marks_of_one_answer_are_refused_and_marks_of_two_answers_are_not(tmp_path):
    path = written(tmp_path, MARK, MARK | {"answer": "1" * 16}, MARK | {"sample": 2}, MARK | {"run": "other"})
    assert len(read_marks(path)) == 4
    path = written(tmp_path, MARK | {"run": "other"}, MARK, MARK | {"mark": "wrong", "sample": 1})
    with pytest.raises(UserError, match=r"marks\[1\] and marks\[2\].*scierc_ner:validation:3"):
        read_marks(path)


@pytest.mark.parametrize(
    "content, told",
    [
        ("", "not marks"),
        ("[1]", "not marks"),
        ("{", "not marks"),
        ("[" * 100_000, "not marks"),
        ("\udcff", "not marks"),
        ('{"marks": []}', "format is missing"),
        ('{"format": "sciriff-marks/2", "marks": 1}', "sciriff-marks/2.*sciriff-marks/1"),
        ('{"format": "sciriff-marks/1"}', "marks is missing"),
    ],
)
def test_another_file_is_named(tmp_path, content, told):
    path = tmp_path / "marks.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=told) as error:
        read_marks(path)
    assert str(path) in str(error.value)
    with pytest.raises(UserError, match="no such file"):
        read_marks(tmp_path / "absent.json")
