import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sciriff.config import SourceConfig
from sciriff.data import source_rows
from sciriff.data.source_rows import read_rows

ROWS = [{"input": "one"}, {"input": "zwei — ½"}, {"input": "trois\n"}]


def write(path: Path, rows: list[dict] = ROWS) -> Path:
    """Rows in the format that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines, mtime=0))
    elif path.name.endswith(".json"):
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    else:
        path.write_bytes(lines)
    return path


def rows_of(path: Path, split: str = "train") -> list[dict]:
    return [row for _, row in read_rows(SourceConfig(path=str(path), split=split))]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json", "x.parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    assert rows_of(write(tmp_path / name)) == ROWS


def test_a_row_says_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"input": 1}\n\n{"input": 2}\n')
    assert [where for where, _ in read_rows(SourceConfig(path=str(path)))] == [f"{path}:1", f"{path}:3"]


def test_json_lines_in_a_json_file_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes("\ufeff".encode() + b'{"input": 1}\n{"input": 2}')
    assert rows_of(path) == [{"input": 1}, {"input": 2}]


def test_a_folder_gives_the_files_of_its_split_by_name(tmp_path: Path) -> None:
    for name in ("train-b.jsonl", "train-a.parquet", "validation.jsonl", "other.jsonl", ".train-hidden.jsonl"):
        write(tmp_path / name, [{"input": name}])
    (tmp_path / "README.md").write_text("not rows")
    assert rows_of(tmp_path) == [{"input": "train-a.parquet"}, {"input": "train-b.jsonl"}]
    assert rows_of(tmp_path, "validation") == [{"input": "validation.jsonl"}]
    assert rows_of(tmp_path, "test") == [{"input": "other.jsonl"}]


def test_a_folder_without_the_split_is_refused_with_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "4096" / "train.jsonl")
    with pytest.raises(
        ValueError, match=r"no \.jsonl.* file of the split 'train' here, but 4096/; did you mean .*4096\?"
    ):
        rows_of(tmp_path)
    with pytest.raises(ValueError, match="there is no such file or folder"):
        rows_of(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="here, but nothing"):
        rows_of(tmp_path / "empty")
    (tmp_path / "x.txt").write_text("a,b")
    with pytest.raises(ValueError, match=r"x\.txt: rows are read from .*\.csv"):
        rows_of(tmp_path / "x.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"input": 1}\n{"input": 2', r"x\.jsonl:2: not JSON"),
        (b'{"input": 1}\n[1]\n', r"x\.jsonl:2: a row must be a JSON object, and this is of type list"),
        (b'{"input": 1}\n{"input": "\xff"}\n', r"x\.jsonl:2: not UTF-8 \(byte 11"),
        (b"[" * 100_000, r"x\.jsonl:1: not JSON"),
        (b'{"input": ' + b"9" * 5000 + b"}", r"x\.jsonl:1: not JSON"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        rows_of(tmp_path / "x.jsonl")
    assert "\n" not in str(caught.value)


def test_a_broken_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"input": 1}, 2]')
    with pytest.raises(ValueError, match=r"x\.json: row 2: a row must be a JSON object"):
        rows_of(tmp_path / "x.json")


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.parquet"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_half_written_files_are_named(tmp_path: Path, name: str, share: float) -> None:
    path = write(tmp_path / name, [{"input": str(i) * 50} for i in range(2000)])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="damaged or only half there") as caught:
        rows_of(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_corrupt_gzip_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl.gz", [{"input": str(i) * 50} for i in range(2000)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.jsonl\.gz"):
        rows_of(path)


def test_reading_is_a_stream(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"input": 1}\nbroken')
    assert next(read_rows(SourceConfig(path=str(tmp_path / "x.jsonl"))))[1] == {"input": 1}


def test_a_list_behind_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes("\ufeff".encode() + b' [{"input": 1}]')
    assert rows_of(tmp_path / "x.json") == [{"input": 1}]


def test_an_unreadable_row_can_be_passed_by(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"input": 1}\n{"input": "\xff"}\n{"input": \n{"input": 2}\n')
    passed: list[tuple[str, str]] = []
    source = SourceConfig(path=str(tmp_path / "x.jsonl"))
    found = list(read_rows(source, lambda where, reason: passed.append((where, reason.partition(" (")[0]))))
    assert [row["input"] for _, row in found] == [1, 2]
    assert passed == [(f"{tmp_path}/x.jsonl:2", "not UTF-8"), (f"{tmp_path}/x.jsonl:3", "not JSON")]


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet"])
def test_how_a_file_begins_says_what_it_is(tmp_path: Path, kind: str) -> None:
    content = write(tmp_path / f"x.{kind}").read_bytes()
    (tmp_path / "y.jsonl").write_bytes(content)
    assert rows_of(tmp_path / "y.jsonl") == ROWS


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json", "x.parquet"])
def test_a_pointer_of_git_lfs_says_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12ab\nsize 12345\n")
    with pytest.raises(ValueError, match=r"x\..*: .*Git LFS.* `git lfs pull`"):
        rows_of(tmp_path / name)


def test_a_line_without_an_end_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_rows, "MOST_LINE_BYTES", 20)
    for name, wrap in (("x.jsonl", bytes), ("x.jsonl.gz", gzip.compress)):
        (tmp_path / name).write_bytes(wrap(b'{"input": 1}\n{"input": 23456789}\n{"input": 234567890}\n'))
        with pytest.raises(ValueError, match=r"x\.jsonl.*:3: longer than 20 bytes"):
            rows_of(tmp_path / name)


def test_other_columns_of_a_table_play_no_part(tmp_path: Path) -> None:
    """Values that Python has no type for, and a time zone that it does not know."""
    odd = {
        "duration": pa.array([2**62], pa.duration("s")),
        "date": pa.array([2**30], pa.date32()),
        "time": pa.array([10**17], pa.int64()).view(pa.timestamp("ms", tz="Mars/Olympus")),
    }
    pq.write_table(pa.table({"input": ["one"], **odd}), tmp_path / "x.parquet")
    assert rows_of(tmp_path / "x.parquet") == [{"input": "one"}]
    pq.write_table(pa.table(odd), tmp_path / "x.parquet")
    assert rows_of(tmp_path / "x.parquet") == [{}]


def test_links_in_a_circle_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").symlink_to(tmp_path / "train.jsonl")
    for path in (tmp_path / "train.jsonl", tmp_path / "train.jsonl" / "x.jsonl"):
        with pytest.raises(ValueError, match="there is no such file or folder"):
            rows_of(path)
    with pytest.raises(ValueError, match=r"file of the split 'train' here, but train\.jsonl"):
        rows_of(tmp_path)
