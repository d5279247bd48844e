import gzip
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sciriff.config import SourceConfig
from sciriff.rows import read_rows

ROWS = [{"a": "one"}, {"a": "zwei — ½"}, {"a": "trois\n"}]


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
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [where for where, _ in read_rows(SourceConfig(path=str(path)))] == [f"{path}:1", f"{path}:3"]


def test_json_lines_in_a_json_file_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes("\ufeff".encode() + b'{"a": 1}\n{"a": 2}')
    assert rows_of(path) == [{"a": 1}, {"a": 2}]


def test_a_folder_gives_the_files_of_its_split_by_name(tmp_path: Path) -> None:
    for name in ("train-b.jsonl", "train-a.parquet", "validation.jsonl", "other.jsonl", ".train-hidden.jsonl"):
        write(tmp_path / name, [{"a": name}])
    (tmp_path / "README.md").write_text("not rows")
    assert rows_of(tmp_path) == [{"a": "train-a.parquet"}, {"a": "train-b.jsonl"}]
    assert rows_of(tmp_path, "validation") == [{"a": "validation.jsonl"}]
    assert rows_of(tmp_path, "test") == [{"a": "other.jsonl"}]


def test_a_folder_without_the_split_is_refused_with_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "4096" / "train.jsonl")
    with pytest.raises(ValueError, match=r"no \.jsonl.* file of the split 'train' here, but 4096/"):
        rows_of(tmp_path)
    with pytest.raises(ValueError, match="there is no such file or folder"):
        rows_of(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="here, but nothing"):
        rows_of(tmp_path / "empty")
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(ValueError, match=r"x\.csv: rows are read from"):
        rows_of(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": 2', r"x\.jsonl:2: not JSON"),
        (b'{"a": 1}\n[1]\n', r"x\.jsonl:2: a row must be a JSON object, and this is of type list"),
        (b'{"a": 1}\n{"a": "\xff"}\n', r"x\.jsonl:2: not UTF-8 \(byte 7"),
        (b"[" * 100_000, r"x\.jsonl:1: not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"x\.jsonl:1: not JSON"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        rows_of(tmp_path / "x.jsonl")
    assert "\n" not in str(caught.value)


def test_a_broken_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"a": 1}, 2]')
    with pytest.raises(ValueError, match=r"x\.json: row 2: a row must be a JSON object"):
        rows_of(tmp_path / "x.json")


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.parquet"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_half_written_files_are_named(tmp_path: Path, name: str, share: float) -> None:
    path = write(tmp_path / name, [{"a": str(i) * 50} for i in range(2000)])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="damaged or only half there") as caught:
        rows_of(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_corrupt_gzip_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl.gz", [{"a": str(i) * 50} for i in range(2000)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.jsonl\.gz"):
        rows_of(path)


def test_reading_is_a_stream(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\nbroken')
    assert next(read_rows(SourceConfig(path=str(tmp_path / "x.jsonl"))))[1] == {"a": 1}


READ_HUB = """
from sciriff.config import SourceConfig
from sciriff.rows import read_rows
try:
    list(read_rows(SourceConfig(hub="someone/data", config="4096", revision="v1")))
except ValueError as error:
    print(error)
"""


def read_hub(tmp_path: Path, **environment: str) -> str:
    """What reading a hub dataset says in a process of its own: the libraries read these variables when imported."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {"HF_HOME": str(tmp_path / "hf"), **environment}
    done = subprocess.run([sys.executable, "-c", READ_HUB], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return done.stdout


def test_offline_without_a_copy_says_what_to_do(tmp_path: Path) -> None:
    message = read_hub(tmp_path, HF_HUB_OFFLINE="1")
    assert message.startswith("someone/data config=4096 split=train revision=v1: cannot be fetched")
    assert "HF_HUB_OFFLINE" in message and "`path`" in message


@pytest.mark.parametrize(("status", "code"), [(401, "GatedRepo"), (403, "GatedRepo"), (404, "RepoNotFound")])
def test_a_gated_or_missing_dataset_says_what_to_do(tmp_path: Path, status: int, code: str) -> None:
    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        message = read_hub(tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert "HF_TOKEN" in message and "https://huggingface.co/datasets/someone/data" in message


def test_a_list_behind_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes("\ufeff".encode() + b' [{"a": 1}]')
    assert rows_of(tmp_path / "x.json") == [{"a": 1}]


def test_an_unreadable_row_can_be_passed_by(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n{"a": "\xff"}\n{"a": \n{"a": 2}\n')
    passed: list[tuple[str, str]] = []
    source = SourceConfig(path=str(tmp_path / "x.jsonl"))
    rows = list(read_rows(source, lambda where, reason: passed.append((where, reason.partition(" (")[0]))))
    assert [row["a"] for _, row in rows] == [1, 2]
    assert passed == [(f"{tmp_path}/x.jsonl:2", "not UTF-8"), (f"{tmp_path}/x.jsonl:3", "not JSON")]
