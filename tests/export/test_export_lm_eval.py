"""Exported tasks in lm-eval: its prompts are the instances, and its scores are those of the score stage."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from exports import COLUMNS, VALIDATION, answers, export, values, write_predictions

from sciriff import score
from sciriff.config import Config
from sciriff.data.saved_answers import TaskAnswers, read_predictions
from sciriff.export.lm_eval_hooks import rows_of
from sciriff.run.run_dir import RunDir

PAGE = Path(__file__).parents[2] / "docs" / "exporting.md"


def by_column(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Column -> value of lm-eval's results."""
    return {
        f"{task}/{key.removesuffix(',none')}": value
        for task, found in results.items()
        for key, value in found.items()
        if key.endswith(",none") and "stderr" not in key
    }


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], dict[str, float]]]:
    """Replay `answers` through lm-eval over the task files in a folder."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Saved(LM):
        def __init__(self) -> None:
            super().__init__()
            self.texts = answers()

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            for request in requests:
                prompt, settings = request.args
                assert prompt == request.doc["input"]
                assert settings == {"until": [], "do_sample": False, "max_gen_toks": 192}
            return [self.texts[request.doc["_instance_id"]] for request in requests]

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    def run(folder: Path) -> dict[str, float]:
        tasks = TaskManager(include_path=str(folder), include_defaults=False)
        found = lm_eval.simple_evaluate(Saved(), tasks=["sciriff"], task_manager=tasks, bootstrap_iters=0)
        return by_column(found["results"])

    yield run


def test_saved_answers_score_exactly_as_here(
    evaluated: Callable[[Path], dict[str, float]],
    composed: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    made, moved = tmp_path / "made", tmp_path / "elsewhere" / "moved"
    assert export(monkeypatch, "lm_eval", made, "--data", VALIDATION, "--max-new-tokens", 192) == 0
    shutil.copytree(made, moved)
    shutil.rmtree(made)
    found = evaluated(moved)

    run = RunDir(tmp_path / "run")
    write_predictions(run.predictions)
    score.main(composed("experiment=demo", "eval.resamples=0"), run)
    assert found == values(run.scores)
    assert sorted(found) == sorted(COLUMNS) and len(COLUMNS) == 9
    assert all(0 < value < 1 for value in found.values())


def test_rows_of_the_hub_are_those_of_the_task() -> None:
    datasets = pytest.importorskip("datasets")
    ids = ["a:validation:1", "ab:validation:0", "a:validation:0"]
    split = datasets.Dataset.from_list([{"_instance_id": name, "input": "", "output": ""} for name in ids])
    assert rows_of("a")(split)["_instance_id"] == ["a:validation:1", "a:validation:0"]


@pytest.mark.slow
@pytest.mark.skipif(not PAGE.is_file(), reason="the document is not here")
def test_the_commands_of_the_page_ask_and_score_as_a_run(tmp_path: Path) -> None:
    """They are followed to the letter, but for the length of training, the device and a place for lm-eval's files."""
    pytest.importorskip("lm_eval")
    environment = {**os.environ, "SCIRIFF_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    environment["HF_HOME"] = str(tmp_path / "hf")

    def run(command: str, more: str) -> None:
        typed = command.replace("lm-eval ", "python -m lm_eval ").replace("python ", f"{shlex.quote(sys.executable)} ")
        done = subprocess.run(
            f"{typed} {more}", shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    part = PAGE.read_text(encoding="utf-8").partition("On the bundled rows:\n\n")[2]
    train, write, evaluate = [line.strip() for line in part.splitlines()[:3]]
    run(train, "train.max_steps=120 log=none report.untrained=false run_dir=runs/demo")
    run(write, "")
    run(evaluate, "--device cpu --batch_size 32 --log_samples --output_path SAMPLES")

    demo = RunDir(tmp_path / "runs" / "demo")
    ours = {name: texts(task) for name, task in read_predictions(demo.predictions, None, False).items()}
    theirs = {name: texts(task) for name, task in read_predictions(tmp_path / "SAMPLES", None, False).items()}
    assert theirs == {name: found for name, found in ours.items() if name in theirs} and len(theirs) == 8
    [results] = (tmp_path / "SAMPLES").rglob("results_*.json")
    assert by_column(json.loads(results.read_text())["results"]) == values(demo.scores)

    [again] = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if "predictions=SAMPLES" in line]
    run(again, "log=none")
    assert values(tmp_path / "OUT" / "scores.json") == values(demo.scores)


def texts(task: TaskAnswers) -> dict[str, str]:
    return {answer.instance_id: answer.prediction for answer in task.answers}
