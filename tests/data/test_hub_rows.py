"""Rows of a hub dataset, from a server on a real socket and from the copy that it leaves."""

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import COMMIT, hub_server

READ = """
import json, sys
from sciriff.config import SourceConfig
from sciriff.data.source_rows import read_rows
for settings in sys.argv[1:]:
    try:
        source = SourceConfig(hub="someone/data", **json.loads(settings))
        commits = []
        rows = list(read_rows(source, on_commit=commits.append))
        print(json.dumps([commits, [where for where, _ in rows][-1:], [row for _, row in rows]]))
    except ValueError as error:
        print(type(error).__name__, error)
"""


READ_MAPPED = """
import json, sys
from sciriff.config import MixSourceConfig
from sciriff.mix.sources import read_conversations
from sciriff.mix.tally import MixTally
for columns in sys.argv[1:]:
    try:
        source = MixSourceConfig(hub="someone/data", columns=json.loads(columns), filter={"lang": "de"})
        rows = read_conversations("lab", source, "error", MixTally())
        print(json.dumps([[row.dataset, row.id, [turn.content for turn in row.messages]] for row in rows]))
    except ValueError as error:
        print(type(error).__name__, error)
"""


def read_hub(tmp_path: Path, *sources: dict[str, str], code: str = READ, **environment: str) -> list[str]:
    """Messages of reading each source, in a process of its own: the libraries read the variables when imported."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {"HF_HOME": str(tmp_path / "hf"), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(json.dumps, sources)], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(sources), done.stdout
    return lines


def table(*inputs: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"input": inputs, "other": list(range(len(inputs)))}), file)
    return file.getvalue()


README = """---
configs:
- config_name: "4096"
  data_files:
  - {split: train, path: 4096/train-*}
  - {split: validation, path: 4096/validation-*}
---
"""
FILES = {
    "README.md": README.encode(),
    "4096/train-0.parquet": table("one", "two"),
    "4096/train-1.parquet": table("three"),
    "4096/validation-0.parquet": table("four"),
}
SOURCE = {"config": "4096"}


def test_a_dataset_is_fetched_once_and_then_had_without_a_network(tmp_path: Path) -> None:
    sources = [SOURCE, {**SOURCE, "split": "validation"}, {**SOURCE, "revision": COMMIT}]
    other = [{**SOURCE, "split": "test"}, {"config": "8192"}]
    with hub_server(FILES) as endpoint:
        online = read_hub(tmp_path, *sources, *other, HF_ENDPOINT=endpoint)
    train, validation, pinned = map(json.loads, online[:3])
    place = "someone/data config=4096 split=train: row 3"
    assert train == [[COMMIT], [place], [{"input": "one"}, {"input": "two"}, {"input": "three"}]]
    assert validation[0] == [COMMIT] and validation[2] == [{"input": "four"}]
    assert pinned[0] == [COMMIT] and pinned[2] == train[2]
    assert online[3].startswith("MissingSplit someone/data config=4096 split=test: cannot be read (Unknown split")
    assert online[4].startswith("UserError someone/data config=8192 split=train: cannot be read (BuilderConfig")

    absent = {**SOURCE, "revision": "f" * 40}
    *offline, refused = read_hub(tmp_path, *sources, absent, HF_HUB_OFFLINE="1")
    assert offline == online[:3]
    # `datasets` would have given the copy that there is
    message = f"OutOfReach someone/data config=4096 split=train revision={'f' * 40}: there is a copy here of revision "
    assert refused.startswith(message + COMMIT)


@pytest.mark.shows("D2")
def test_a_script_of_a_dataset_does_not_run(tmp_path: Path) -> None:
    script = f"from pathlib import Path\nPath({str(tmp_path / 'RAN')!r}).touch()\n"
    with hub_server({"README.md": b"", "data.py": script.encode()}) as endpoint:
        [said] = read_hub(tmp_path, {}, HF_ENDPOINT=endpoint, HF_DATASETS_TRUST_REMOTE_CODE="1")
    assert ("someone/data" in said and "Error" in said) or "OutOfReach" in said
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("dead", [False, pytest.param(True, marks=pytest.mark.slow)])  # the library tries for 30 s
def test_without_a_copy_it_says_what_to_do(tmp_path: Path, dead: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    environment = {"HF_ENDPOINT": f"http://127.0.0.1:{port}"} if dead else {"HF_HUB_OFFLINE": "1"}
    (message,) = read_hub(tmp_path, {**SOURCE, "revision": "v1"}, **environment)
    assert message.startswith("OutOfReach someone/data config=4096 split=train revision=v1: ")
    assert "cannot be fetched" in message and "HF_HUB_OFFLINE" in message and "`path`" in message


@pytest.mark.parametrize("refusal", [(401, "GatedRepo"), (403, "GatedRepo"), (404, "RepoNotFound")])
def test_a_gated_or_missing_dataset_says_what_to_do(tmp_path: Path, refusal: tuple[int, str]) -> None:
    with hub_server(refusal=refusal) as endpoint:
        (message,) = read_hub(tmp_path, SOURCE, HF_ENDPOINT=endpoint)
    assert message.startswith("OutOfReach ")
    assert "HF_TOKEN" in message and "https://huggingface.co/datasets/someone/data" in message


def test_columns_of_ones_own_are_asked_for(tmp_path: Path) -> None:
    """By a mapping, a template and a filter; a column that is not there is refused with those that are."""
    file = io.BytesIO()
    meta = [{"about": "ants"}, {"about": "bees"}]
    columns = {"Question": ["one", "two"], "meta": meta, "lang": ["en", "de"], "other": [1, 2], "n": [3, 4]}
    pq.write_table(pa.table(columns), file)
    settings = [
        {"prompt": "{{ Question }} {{ n }}", "completion": "meta.about"},
        {"prompt": "question", "completion": "meta.about"},
        {"prompt": "Question", "completion": "meta.abot"},
    ]
    with hub_server({"train.parquet": file.getvalue()}) as endpoint:
        found, *refused = read_hub(tmp_path, *settings, code=READ_MAPPED, HF_ENDPOINT=endpoint)
    assert json.loads(found) == [["lab", "train:2", ["two 4", "bees"]]]
    assert all("someone/data split=train: there is no column" in message for message in refused)
    assert "did you mean 'Question'" in refused[0] and "did you mean 'meta.about'" in refused[1]
