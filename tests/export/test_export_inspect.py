"""Exported tasks in inspect_ai, where that is installed: its scores are those of the score stage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exports import COLUMNS, VALIDATION, answers, export, values, write_predictions

from sciriff import score
from sciriff.config import Config
from sciriff.run.json_lines import read_json_objects
from sciriff.run.run_dir import RunDir


def test_saved_answers_score_exactly_as_here_in_inspect(
    composed: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inspect_ai = pytest.importorskip("inspect_ai")
    from inspect_ai.model import GenerateConfig, ModelAPI, ModelOutput, get_model, modelapi

    made = answers()
    by_prompt = {row["input"]: made[row["_instance_id"]] for _, row in read_json_objects(VALIDATION)}

    @modelapi(name="replayed")
    class Replayed(ModelAPI):
        async def generate(self, input: Any, tools: Any, tool_choice: Any, config: GenerateConfig) -> ModelOutput:
            [message] = input
            assert (config.max_tokens, config.temperature) == (192, 0.0)
            return ModelOutput.from_content("replayed", by_prompt[message.text])

        async def count_tokens(self, *_: Any, **__: Any) -> int:
            return 1  # inspect_ai's own way downloads a vocabulary

    out = tmp_path / "out"
    assert export(monkeypatch, "inspect", out, "--data", VALIDATION, "--max-new-tokens", 192) == 0
    monkeypatch.chdir(tmp_path)
    model = get_model("replayed/answers")
    logs = inspect_ai.eval("out", model=model, log_dir=str(tmp_path / "logs"), display="none")
    assert [log.status for log in logs] == ["success"] * 8
    scores = {log.eval.task: log.results.scores[0].metrics for log in logs}
    found = {f"{task}/{name}": metric.value for task, metrics in scores.items() for name, metric in metrics.items()}

    run = RunDir(tmp_path / "run")
    write_predictions(run.predictions)
    score.main(composed("experiment=demo", "eval.resamples=0"), run)
    assert found == values(run.scores)
    assert sorted(found) == sorted(COLUMNS)
