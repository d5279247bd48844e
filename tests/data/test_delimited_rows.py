"""Tables of delimited text as people bring them: from Excel, pandas and other languages, and hostile ones."""

import csv
import gzip
from pathlib import Path

import pytest

from sciriff.config import SourceConfig
from sciriff.data import delimited
from sciriff.data.source_files import tables_left_out, validation_split
from sciriff.data.source_rows import names_there, read_rows
from sciriff.run.user_error import UserError

COLUMNS = ("input", "output")


def rows_of(path: Path) -> list[tuple[str, dict[str, str]]]:
    return [(where.removeprefix(f"{path.parent}/"), row) for where, row in read_rows(SourceConfig(path=str(path)))]


def values_of(path: Path) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for _, row in rows_of(path)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", b"input,output\nHi,Hello\n", [("Hi", "Hello")]),
        ("x.csv", b"\xef\xbb\xbfinput,output\r\nHi,Hello\r\n", [("Hi", "Hello")]),
        ("x.csv", b'"input","output"\n"a, b","say ""c"""\n', [("a, b", 'say "c"')]),
        ("x.csv", b"input;output\na, b;2,5\n", [("a, b", "2,5")]),
        ("x.csv", b'"input, all";output\na;b\n', [("a", "b")]),
        ("x.csv", b"sep=;\ninput;output\na;b\n", [("a", "b")]),
        ("x.csv", b"sep=|\r\ninput|output\r\na|b\r\n", [("a", "b")]),
        ("x.csv", b"input\toutput\na\tb\n", [("a", "b")]),
        ("x.tsv", b"input\toutput\na, b\t\n", [("a, b", "")]),
        ("x.csv", b"\n\n input , output \n,\n , \na,b", [("a", "b")]),
        ("x.csv", b",input,output\n0,a,b\n1,c,d\n", [("a", "b"), ("c", "d")]),
        ("x.csv", b"input\nonly\n", [("only",)]),
        ("x.csv", 'input,output\n"naïve",β\n'.encode(), [("naïve", "β")]),
        ("x.csv", b"input,output\na\0b,c\n", [("a\0b", "c")]),
    ],
)
def test_a_table(tmp_path: Path, name: str, content: bytes, expected: list[tuple[str, ...]]) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert values_of(path) == expected
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(content))
    assert values_of(packed) == expected


def test_a_row_stands_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'\ninput,output\n"two\nlines","a\r\nb"\n\n,\nlast,row\n')
    assert rows_of(path) == [
        ("x.csv:3", {"input": "two\nlines", "output": "a\r\nb"}),
        ("x.csv:8", {"input": "last", "output": "row"}),
    ]
    assert names_there(path) == ["input", "output"]


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        (b"input,output\na,b\nc\n", ":3", ["not as many values", "1 values for the 2 columns input, output", "quoted"]),
        (b"input,output\na,b,c\n", ":2", ["3 values for the 2 columns"]),
        (b'input,output\na,b\n"a"b,c\n', ":3", ["not CSV", "quotation mark", "doubled"]),
        (b'input,output\na,b\n"a,b\nc,d\n', ":3", ["never closes", "double it"]),
        ("input,output\na,b\nna\u00efve,b\n".encode("latin1"), ":3", ["not UTF-8", "iconv -f latin1 -t utf-8"]),
        ("input,\u00e9\na,b\n".encode("latin1"), ":1", ["not UTF-8", "iconv"]),
        ("\ufeffinput,output\n".encode("utf-16-le"), "", ["UTF-16", "iconv -f utf-16"]),
        (b"PK\x03\x04 workbook", "", ["Excel", "save the sheet as CSV"]),
        (b"", "", ["empty", "first line"]),
        (b" \n\n", "", ["empty"]),
        (b",,\na,b,c\n", ":1", ["must name the columns"]),
        (b"input,output,input\na,b,c\n", ":1", ["two columns are called 'input'", "rename"]),
        (b"\x1b[2J,\x1b[2J\n", ":1", ["two columns are called '\u241b[2J'"]),
        (b"input,output\ra,b\r", ":1", ["the first line must name the columns"]),
    ],
)
def test_a_broken_table_names_line_and_remedy(tmp_path: Path, content: bytes, place: str, words: list[str]) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        rows_of(path)
    message = str(caught.value)
    assert message.startswith(f"{path}{place}: ") and all(word in message for word in words), message
    assert message.isprintable()


def test_a_bad_row_does_not_take_the_next_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'input,output\na,b\n"a"b,c\nshort\n\xff,x\nc,d\n')
    passed: list[str] = []
    source = SourceConfig(path=str(path))
    found = list(read_rows(source, lambda where, reason: passed.append(f"{where[-2:]} {reason.partition(' (')[0]}")))
    assert [row["input"] for _, row in found] == ["a", "c"]
    assert passed == [":3 not CSV", ":4 not as many values as columns", ":5 not UTF-8"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_giant_cell_is_not_held(tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MOST_LINE_BYTES", 100)
    limit = csv.field_size_limit()
    path = tmp_path / ("x.csv.gz" if packed else "x.csv")
    contents = [b"input,output\na," + b"b" * 200, b'input,output\na,"' + b"b\n" * 100, b"input," * 50]
    for content, place in zip(contents, (":2", ":2", ":1"), strict=True):
        path.write_bytes(gzip.compress(content) if packed else content)
        with pytest.raises(UserError, match=rf"x\.csv.*{place}: a row longer than 100 bytes"):
            rows_of(path)
    csv.field_size_limit(limit)


def test_half_a_packed_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    content = gzip.compress(b"input,output\n" + b"".join(b"%d,x\n" % (i * i) for i in range(20_000)))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"x\.csv\.gz: damaged or only half there"):
        rows_of(path)


def test_tables_lie_beside_rows_and_are_rows_where_there_are_no_others(tmp_path: Path) -> None:
    source = SourceConfig(path=str(tmp_path))
    for name in ("train.csv", "validation.csv", "figures.tsv"):
        (tmp_path / name).write_text("input,output\na,b\n")
    assert values_of(tmp_path) == [("a", "b")]
    assert validation_split(source) is not None and tables_left_out(source) == []
    (tmp_path / "more.jsonl").write_text('{"input": "c", "output": "d"}\n')
    assert values_of(tmp_path) == [("c", "d")]
    assert validation_split(source) is None and tables_left_out(source) == [tmp_path / "train.csv"]
