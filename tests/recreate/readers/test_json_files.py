from dataclasses import dataclass

import pytest

from sciriff.recreate.readers.json_files import json_lines, json_list, json_value
from sciriff.run.user_error import UserError


@dataclass
class Paper:
    title: str
    year: int = 0


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_reads_json_lines_with_any_line_end(tmp_path, end):
    path = tmp_path / "papers.txt"
    path.write_bytes(f'\ufeff{{"title": "Tides"}}{end}{end}{{"title": "Moss", "year": 3, "more": 1}}'.encode())
    assert list(json_lines(path, Paper)) == [(f"{path}:1", Paper("Tides")), (f"{path}:3", Paper("Moss", 3))]


@pytest.mark.parametrize(
    ("second", "reason"),
    [(b"{", "not JSON"), (b'{"title": 5}', "title=5"), (b"[]", "object"), (b'{"title": "\xff"}', "not UTF-8")],
)
def test_a_broken_line_is_named(tmp_path, second, reason):
    path = tmp_path / "papers.jsonl"
    path.write_bytes(b'{"title": "Tides"}\n' + second)
    with pytest.raises(UserError, match=reason) as caught:
        list(json_lines(path, Paper))
    assert f"{path}:2" in str(caught.value)


def test_reads_a_json_list(tmp_path):
    path = tmp_path / "papers.json"
    path.write_text(' [{"title": "Tides"}, {"title": "Moss"}]')
    assert [row for _, row in json_list(path, Paper)] == [Paper("Tides"), Paper("Moss")]
    path.write_text('[{"title": "Tides"}, {"year": 1}]')
    with pytest.raises(UserError, match="row 2: title is missing"):
        list(json_list(path, Paper))
    path.write_text('{"title": "Tides"}')
    with pytest.raises(UserError, match="not a JSON list"):
        list(json_list(path, Paper))


def test_reads_a_file_that_is_one_value(tmp_path):
    path = tmp_path / "papers.json"
    path.write_text('{"a":\n {"title": "Tides"}}')
    assert json_value(path, dict[str, Paper], "papers") == {"a": Paper("Tides")}
    path.write_text('{"a":\n {"title": "Tides"')
    with pytest.raises(UserError, match=r"not papers .*line 2"):
        json_value(path, dict[str, Paper], "papers")


def test_a_pointer_of_git_lfs_says_what_to_do(tmp_path):
    path = tmp_path / "papers.json"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    for read in (json_lines, json_list):
        with pytest.raises(UserError, match="git lfs pull"):
            list(read(path, Paper))
    with pytest.raises(UserError, match="git lfs pull"):
        json_value(path, Paper, "papers")
