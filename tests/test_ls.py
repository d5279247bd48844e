"""The list of runs shows the mean of general tasks where some run has one."""

import json
from collections.abc import Callable
from pathlib import Path

from sciriff import config
from sciriff.config import Config
from sciriff.ls import lines, listed
from sciriff.run.run_dir import RunDir


def test_the_mean_of_general_tasks_has_a_column(tmp_path: Path, composed: Callable[..., Config]):
    summary = {
        "columns": {"biored_ner/f1": {"value": 0.5}},
        "mean": 0.5,
        "median": 0.5,
        "missing": ["discomat_te/bleu"],
    }
    general = {"name": "quick", "tasks": {}, "mean": {"value": 0.337, "ci95": [0.31, 0.36]}}
    for name, scores in (("plain", {"summary": summary}), ("both", {"summary": summary, "general": general})):
        run = RunDir(tmp_path / name)
        run.root.mkdir()
        run.config.write_text(config.to_yaml(composed("experiment=demo", f"name={name}")))
        run.scores.write_text(json.dumps(scores))
    plain, both = (listed(tmp_path / name) for name in ("plain", "both"))
    header, *rows = lines([plain, both], 0)
    assert header.split() == ["run", "status", "stage", "mean", "general", "age"]
    assert any("50.00 of 1 of 11  33.70 [31.0, 36.0] quick" in row for row in rows)
    assert "general" not in lines([plain], 0)[0]
    RunDir(tmp_path / "both").scores.write_text(json.dumps({"summary": summary, "general": {"name": 3}}))
    damaged = listed(tmp_path / "both")
    assert damaged.status == "damaged" and "general.name=3" in str(damaged.damage)
