"""metrics.jsonl as curves and totals."""

import json
from pathlib import Path

import pytest

from sciriff.report.training import curves, duration, read_metrics, totals


def test_no_training_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []
    assert totals([]) == [] and curves([]) == []


def test_totals_and_epoch_marks(tmp_path: Path) -> None:
    rows = [
        {"step": s, "steps": 8, "epoch": s / 2, "loss": float("nan") if s == 2 else 1.0, "seconds": 0.5, "tokens": 100}
        for s in range(1, 5)
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = dict(totals(read_metrics(path)))
    assert found["Optimizer steps"] == "4 of 8 planned"
    assert found["Steps whose loss is not a number"] == "1"
    assert found["Tokens"] == "400" and found["Time in steps"] == "2.0 s: 200 tokens a second"
    assert "MFU" not in found
    (loss,) = curves(read_metrics(path))
    assert loss.title == "Training loss" and loss.svg.count('class="mark"') == 1, "step 2; the last step is the edge"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.06, "4.1 s"), (59.99, "1 min 00 s"), (61.4, "1 min 01 s"), (3599.7, "1 h 00 min"), (90061, "25 h 01 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
