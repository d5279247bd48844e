"""Splits of a hub data set, from a server on a real socket and from the copy that it leaves."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hub_server import COMMIT, hub_server

READ = """
import json, sys
from sciriff.recreate.hub import hub_splits
for arguments in map(json.loads, sys.argv[1:]):
    commits = []
    try:
        splits = hub_splits(*arguments, on_commit=commits.append)
        print(json.dumps([commits, {name: list(rows) for name, rows in splits.items()}]))
    except ValueError as error:
        print(type(error).__name__, error)
"""
BRANCH = "refs/convert/parquet"
Arguments = list[str | None]


def read(tmp_path: Path, *calls: Arguments, **environment: str) -> list[str]:
    """A line for each call, in a process of its own: the libraries read the variables when imported."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {"HF_HOME": str(tmp_path / "hf"), **environment}
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(json.dumps, calls)], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(calls), done.stdout
    return lines


def table(*questions: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"question": questions}), file)
    return file.getvalue()


def test_data_files_and_a_script_that_must_not_run(tmp_path: Path) -> None:
    files = {
        "training.csv": b'paper_name,text\nA,"x, y"\n',
        "validation.csv": b"paper_name,text\nB,z\n",
        "README.md": b"",
    }
    with hub_server(files) as endpoint:
        found, subset = read(tmp_path, ["someone/data"], ["someone/data", "large"], HF_ENDPOINT=endpoint)
    rows = {"train": [{"paper_name": "A", "text": "x, y"}], "validation": [{"paper_name": "B", "text": "z"}]}
    assert json.loads(found) == [[COMMIT], rows]
    assert subset.startswith("UserError someone/data subset=large: cannot be read") and "local copy" in subset

    ran = tmp_path / "ran"
    script = {"data.py": f"open({str(ran)!r}, 'w')\n".encode(), "README.md": b""}
    with hub_server(script) as endpoint:
        (refused,) = read(tmp_path / "other", ["someone/data"], HF_ENDPOINT=endpoint, HF_DATASETS_TRUST_REMOTE_CODE="1")
    assert refused.startswith("UserError someone/data: cannot be read") and not ran.exists()


def test_the_parquet_copy_of_a_subset_is_fetched_once_and_then_had_without_a_network(tmp_path: Path) -> None:
    files = {
        "small/train/0000.parquet": table("one"),
        "small/train/0001.parquet": table("two"),
        "small/test/0000.parquet": table("three"),
        "large/train/0000.parquet": table("four"),
        "README.md": b"",
    }
    small: Arguments = ["someone/data", "small", BRANCH]
    with hub_server(files) as endpoint:
        online, absent, unnamed = read(
            tmp_path, small, ["someone/data", "tiny", BRANCH], ["someone/data", None, BRANCH], HF_ENDPOINT=endpoint
        )
    rows = {"train": [{"question": "one"}, {"question": "two"}], "test": [{"question": "three"}]}
    assert json.loads(online) == [[COMMIT], rows]
    assert absent.startswith(f"UserError someone/data subset=tiny revision={BRANCH}: ") and "no such subset" in absent
    assert "2 subsets (large, small)" in unnamed and "template file" in unnamed
    assert read(tmp_path, small, HF_HUB_OFFLINE="1") == [online]


def test_without_a_network_it_names_where_the_raw_files_are(tmp_path: Path) -> None:
    calls: list[Arguments] = [["covid_qa_deepset"], ["allenai/qasper", None, BRANCH], ["someone/data"]]
    covid, qasper, other = read(tmp_path, *calls, HF_HUB_OFFLINE="1")
    assert covid.startswith("OutOfReach deepset/covid_qa_deepset: cannot be fetched")
    assert "https://github.com/deepset-ai/COVID-QA" in covid
    assert qasper.startswith(f"OutOfReach allenai/qasper revision={BRANCH}: cannot be fetched")
    assert "https://qasper-dataset.s3" in qasper
    assert "name a local copy" in other
