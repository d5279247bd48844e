import pytest

from sciriff.recreate.readers.delimited import csv_rows, tsv_rows
from sciriff.run.user_error import UserError


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_values_keep_commas_quotes_and_line_ends(tmp_path, end):
    path = tmp_path / "findings.csv"
    path.write_bytes(end.join(["\ufeffname,text", f'a,"one, ""two""{end}three"', "", "b,", ""]).encode())
    assert list(csv_rows(path)) == [
        (f"{path}:2", {"name": "a", "text": f'one, "two"{end}three'}),
        (f"{path}:5", {"name": "b", "text": ""}),
    ]


def test_tsv_has_no_quotes_and_may_have_no_header(tmp_path):
    path = tmp_path / "abstracts.tsv"
    path.write_bytes(b'1\t"Tides" rise\r\n2\t"Moss\r\n')
    assert [row for _, row in tsv_rows(path, ("id", "title"))] == [
        {"id": "1", "title": '"Tides" rise'},
        {"id": "2", "title": '"Moss'},
    ]


def test_a_value_may_be_a_whole_paper(tmp_path):
    path = tmp_path / "papers.csv"
    path.write_text(f"text\n{'long ' * 50_000}")
    assert len(next(csv_rows(path))[1]["text"]) == 250_000


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"a,b\n1,2\n1,2,3\n", 3, "3 values for the 2 columns a, b"),
        (b'a,b\n1,"2\n3\n', 2, "unexpected end of data"),
        (b'a,b\n1,2\n1,"2"3\n', 3, "expected"),
        (b"a,b\n1,\xff\n", 1, "not UTF-8"),
    ],
)
def test_a_broken_line_is_named(tmp_path, content, line, reason):
    path = tmp_path / "findings.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        list(csv_rows(path))
    assert f"{path}:{line}:" in str(caught.value)
