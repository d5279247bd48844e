"""The metric of a task of one's own is tried on its evaluation rows while they are made, not after a training."""

from pathlib import Path

import pytest
from recreate_runs import build_rows, write_task


def test_answers_that_the_metric_cannot_read_fail_the_task(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    folder = write_task(tmp_path / "tasks", "words", more="metric: list_f1\n")
    write_task(folder, "labels", more="metric: label_accuracy\n")
    assert build_rows(folder, tmp_path / "out") == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: words")]
    assert "words.yaml: metric=list_f1 cannot score words:train:" in line
    assert (tmp_path / "out" / ".tasks" / "labels" / "done.json").is_file()


def test_a_held_out_task_has_its_own_metric(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    folder = write_task(tmp_path / "tasks", "biored_ner", more="metric: label_accuracy\n")
    assert build_rows(write_task(folder, "kinds"), tmp_path / "out") == 1
    assert "biored_ner is one of SciRIFF's nine held-out tasks and has its metric" in capfd.readouterr().err
