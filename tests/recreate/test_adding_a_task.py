"""Follow the part of docs/adding_a_task.md that needs no Python to the letter: its files, commands and errors."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding_a_task.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the document is not here")


def blocks(language: str) -> list[str]:
    """The code blocks of that part in this language."""
    part = PAGE.read_text(encoding="utf-8").partition("## A task of one's own")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


def errors() -> list[str]:
    return [line for block in blocks("text") for line in block.splitlines()]


@pytest.fixture
def my_tasks(tmp_path: Path) -> Path:
    """The page's records and YAML, as it names them."""
    folder = tmp_path / "my_tasks"
    folder.mkdir()
    for suffix in ("jsonl", "yaml"):
        [text] = blocks(suffix)
        (folder / f"reagents.{suffix}").write_text(text, encoding="utf-8")
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of the page in a shell whose `python` is this one."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "SCIRIFF_CACHE": str(folder / "cache")}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def follow(block: str, folder: Path) -> str:
    """Run the lines of a block; returns what the last one printed."""
    for command in block.splitlines():
        done = run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_commands_of_the_page_make_a_mix_and_a_column_of_the_task(my_tasks: Path):
    folder = my_tasks.parent
    *steps, column = blocks("sh")
    assert [len(step.splitlines()) for step in (*steps, column)] == [2, 1, 3, 3]
    for step in steps:
        follow(step, folder)
    counts = {split: len(rows(folder / f"my_rows/{split}.jsonl")) for split in ("train", "validation", "test")}
    assert counts == {"train": 6, "validation": 2, "test": 2}
    first = rows(folder / "my_rows/train.jsonl")[0]
    assert first["input"].startswith("Which reagents") and json.loads(first["output"]) is not None
    assert first["metadata"]["task_family"] == "ie.named_entity_recognition"
    assert "Which reagents" in (folder / "my_rows/page.html").read_text(encoding="utf-8")
    mine = [row["dataset"] for row in rows(folder / "runs/my_mix/mix/train.jsonl")]
    assert mine.count("science.reagents") == 6
    ours = {row["dataset"] for row in rows(folder / "runs/our_mix/mix/train.jsonl")}
    assert {"science.reagents", "science.bench_notes_ner"} <= ours
    assert "reagents" in (folder / "runs/our_mix/mix/card.md").read_text(encoding="utf-8")
    assert re.search(r"^reagents/f1 +2 ", follow(column, folder), re.MULTILINE)
    trained = {row["dataset"] for row in rows(folder / "runs/my_column/mix/train.jsonl")}
    assert "science.bench_notes_ner" in trained and "science.reagents" not in trained


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "file", "old", "new"),
    [
        (0, "reagents.yaml", "{{ sentence }}", "{{ sentense }}"),
        (1, "reagents.yaml", "{{ reagents | tojson }}", "{{ reagents | join }}"),
        (2, "reagents.yaml", "metadata:", "metdata:"),
        (3, "reagents.jsonl", ' the plates with ethanol.", "reagents": ["ethanol"]}', ""),
    ],
    ids=["field", "blank", "key", "record"],
)
def test_errors_are_those_that_the_page_shows(my_tasks: Path, number: int, file: str, old: str, new: str):
    replaced(my_tasks / file, old, new)
    done = run(blocks("sh")[0].splitlines()[0], my_tasks.parent)
    assert done.returncode != 0
    assert errors()[number] in done.stderr
