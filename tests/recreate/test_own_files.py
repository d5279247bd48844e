"""A task of one's own: its files, and its metric, which is tried while rows are made and not after a training."""

import csv
import shutil
from pathlib import Path

import pytest
from recreate_runs import build_rows, rows_of, write_task


def test_answers_that_the_metric_cannot_read_fail_the_task(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    folder = write_task(tmp_path / "tasks", "words", more="metric: list_f1\n")
    write_task(folder, "labels", more="metric: label_accuracy\n")
    assert build_rows(folder, tmp_path / "out") == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: words")]
    assert "words.yaml: metric=list_f1 cannot score words:train:" in line
    assert (tmp_path / "out" / ".tasks" / "labels" / "done.json").is_file()


def test_values_that_a_program_has_quoted_are_read_without_quotes(tmp_path: Path):
    folder = write_task(tmp_path / "tasks")
    text = (folder / "kinds.yaml").read_text()
    (folder / "kinds.yaml").write_text(text.replace("kinds.jsonl", "kinds.tsv"))
    with (folder / "kinds.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["text", "label"], ["one", '["b", "a"]']])
    build_rows(folder, tmp_path / "out")
    assert [row["output"] for row in rows_of(tmp_path / "out")["train"]] == ['["b", "a"]']


def test_the_files_of_a_folder_may_have_other_names(tmp_path: Path):
    folder = write_task(tmp_path / "tasks")
    text = (folder / "kinds.yaml").read_text()
    (folder / "kinds.yaml").write_text(
        text.replace("data: kinds.jsonl", "data_dir: own\nsplit_lookup: {validation: dev}")
    )
    (folder / "own").mkdir()
    for name in ("train", "dev", "test"):
        shutil.copy(folder / "kinds.jsonl", folder / "own" / f"{name}.jsonl")
    build_rows(folder, tmp_path / "out")
    assert {split: len(rows) for split, rows in rows_of(tmp_path / "out").items()} == {
        "train": 10,
        "validation": 10,
        "test": 10,
    }


def test_a_held_out_task_has_its_own_metric(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    folder = write_task(tmp_path / "tasks", "biored_ner", more="metric: label_accuracy\n")
    assert build_rows(write_task(folder, "kinds"), tmp_path / "out") == 1
    assert "biored_ner is one of SciRIFF's nine held-out tasks and has its metric" in capfd.readouterr().err


def test_a_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = write_task(tmp_path / "tasks")
    text = (folder / "kinds.yaml").read_text()
    (folder / "kinds.yaml").write_text(text.replace("data: kinds.jsonl", "data_dir: own"))
    (tmp_path / "raw" / "own").mkdir(parents=True)
    shutil.copy(folder / "kinds.jsonl", tmp_path / "raw" / "own" / "train.jsonl")
    assert build_rows(Path("~/tasks"), Path("~/out"), raw="~/raw") == 0
    assert sum(map(len, rows_of(tmp_path / "out").values())) == 10
