"""Rows survive a kill; rows of other settings do not survive."""

import json
from pathlib import Path

import pytest

from sciriff.predict import saved_rows
from sciriff.records import Prediction
from sciriff.run_dir import RunDir

EXPECTED = {"scierc_ner": ["scierc_ner:v:0", "scierc_ner:v:1"], "biored_ner": ["biored_ner:v:0"]}
SETTINGS = {"model": "m", "end tokens": [2]}


def prediction(instance_id: str, text: str = "answer\n\u2028 \ud800") -> Prediction:
    return Prediction(instance_id.partition(":")[0], instance_id, "prompt", text, "reference", "stop", 3, 2)


def test_rows_are_found_again_and_end_in_the_order_of_the_instances(tmp_path: Path) -> None:
    assert saved_rows.begin(RunDir(tmp_path), EXPECTED, SETTINGS) == {}
    assert json.loads((tmp_path / "predictions" / "expected.json").read_text()) == EXPECTED
    second, first, other = (prediction(i) for i in ("scierc_ner:v:1", "scierc_ner:v:0", "biored_ner:v:0"))
    saved_rows.append(RunDir(tmp_path), [second, other])
    saved_rows.append(RunDir(tmp_path), [first])
    rows = saved_rows.begin(RunDir(tmp_path), EXPECTED, SETTINGS)
    assert rows == {row.instance_id: row for row in (first, second, other)}
    saved_rows.keep_only(RunDir(tmp_path), EXPECTED, rows)
    ids = [
        json.loads(line)["instance_id"]
        for line in (tmp_path / "predictions" / "scierc_ner.jsonl").read_text().splitlines()
    ]
    assert ids == EXPECTED["scierc_ner"]


def test_half_a_line_and_rows_of_nobody_are_passed_over(tmp_path: Path) -> None:
    saved_rows.begin(RunDir(tmp_path), EXPECTED, SETTINGS)
    saved_rows.append(RunDir(tmp_path), [prediction("scierc_ner:v:0"), prediction("scierc_ner:v:9")])
    path = tmp_path / "predictions" / "scierc_ner.jsonl"
    with path.open("ab") as file:
        file.write(b'\x00\x00\n[1]\n{"task": "scierc_ner"}\n{"task": "scierc_ner", "instance_id": "scierc')
    rows = saved_rows.begin(RunDir(tmp_path), EXPECTED, SETTINGS)
    assert list(rows) == ["scierc_ner:v:0"]
    saved_rows.keep_only(RunDir(tmp_path), EXPECTED, rows)
    assert len(path.read_bytes().splitlines()) == 1


def test_other_settings_start_afresh_and_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved_rows.begin(RunDir(tmp_path), EXPECTED, SETTINGS)
    saved_rows.append(RunDir(tmp_path), [prediction("scierc_ner:v:0")])
    assert saved_rows.begin(RunDir(tmp_path), EXPECTED, {**SETTINGS, "model": "n"}) == {}
    assert "made with another model: starting afresh" in capsys.readouterr().out
    assert not (tmp_path / "predictions" / "scierc_ner.jsonl").exists()


def test_rows_of_somebody_else_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "scierc_ner.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"scierc_ner.jsonl was not written by this stage"):
        saved_rows.begin(RunDir(tmp_path), EXPECTED, SETTINGS)
