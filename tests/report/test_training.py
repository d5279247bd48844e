"""metrics.jsonl as curves and totals."""

import json
from pathlib import Path

from sciriff.data.training_metrics import read_metrics
from sciriff.report.training import curves, totals


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


def test_validation_rows_are_a_panel_and_facts_of_their_own(tmp_path: Path) -> None:
    measured = {0: (3.0, 2.0), 2: (1.0, 2.5), 4: (1.5, None)}
    rows: list[dict[str, object]] = []
    for step in range(5):
        if step:
            rows.append({"step": step, "steps": 8, "epoch": step / 2, "loss": 1.0, "seconds": 0.5, "tokens": 100})
        if step in measured:
            science, general = measured[step]
            values = {"validation_science_loss": science, "validation_general_loss": general}
            rows.append({"step": step, "steps": 8, **values, "validation_seconds": 9.0})
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = dict(totals(read_metrics(path)))
    assert found["Optimizer steps"] == "4 of 8 planned" and found["Time in steps"] == "2.0 s: 200 tokens a second"
    assert found["Validation loss, science rows"] == (
        "3.0000 before training, 1.5000 after step 4, lowest 1.0000 after step 2"
    )
    assert found["Validation loss, general rows"] == (
        "2.0000 before training, 2.5000 after step 2, lowest 2.0000 before training"
    )
    training, validation = curves(read_metrics(path))
    assert (training.title, validation.title) == ("Training loss", "Validation loss")
    assert validation.svg.count('class="curve') == 2 and 'class="curve second"' in validation.svg
    assert "solid: science rows, dashed: general rows" in validation.description


def test_scores_of_tasks_are_a_panel_and_a_fact(tmp_path: Path) -> None:
    means = {2: (0.2, 0.4), 4: (0.1, 0.1)}
    rows: list[dict[str, object]] = []
    for step in range(1, 5):
        rows.append({"step": step, "steps": 4, "loss": 1.0, "seconds": 0.5, "tokens": 100})
        if step in means:
            one, other = means[step]
            scores = {"validation_task_a/f1": one, "validation_task_b/bleu": other}
            whole = {"validation_task_mean": (one + other) / 2, "validation_task_seconds": 2.0}
            rows.append({"step": step, "steps": 4, "validation_seconds": 0.0, **whole, **scores})
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = dict(totals(read_metrics(path)))
    assert found["Mean of the tasks"] == "0.3000 after step 2, the highest; 0.1000 at the end"
    _, panel = curves(read_metrics(path))
    assert panel.title == "Scores of the tasks" and "Bold: the mean of 2; thin: each." in panel.description
    assert panel.svg.count('class="each"') == 2 and panel.svg.count('class="curve"') == 1
