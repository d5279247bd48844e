"""The best model by the scores of a few prompts, which the training answers itself (train.best_by=task_mean)."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from finetune_runs import finetune, rows_of, steps_of, tiny_model, train, weights, without_timings

from sciriff.models.engines.transformers import continued
from sciriff.models.loading import load_model, load_tokenizer
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

Make = Callable[..., RunDir]

SETTINGS = {
    "eval_every": 4,
    "keep": "best",
    "best_by": "task_mean",
    "best_from": "reported",
    "learning_rate": 3e-2,
    "schedule": "constant",
    "warmup_ratio": 0.0,
}
LIMIT = 12


def with_prompts(run: RunDir, count: int = 7) -> RunDir:
    """The run with prompts of two made-up tasks of several lengths, as predict.selection_prompts writes them."""
    tokenizer = load_tokenizer(tiny_model())
    rows = []
    for number in range(count):
        text = f"Name the {number} words" + " of this long text" * number
        rows.append(
            {
                "_instance_id": f"{'ab'[number % 2]}_task:train:{number}",
                "input": text,
                "output": "the of a in and to is for with",
                "metric": ("bleu", "rouge")[number % 2],
                "ids": tokenizer(text)["input_ids"],
                "limit": LIMIT + number % 2,
                "thinking": 0,
            }
        )
    run.selection.mkdir()
    write_jsonl(run.selection_prompts, rows)
    return run


def answers(run: RunDir, step: int) -> dict[str, list[Any]]:
    """Instance -> the text of its answer and its tokens after `step` steps."""
    rows = map(json.loads, (run.selection / f"step-{step}.jsonl").read_text().splitlines())
    return {row["instance_id"]: [row["prediction"], row["output_tokens"]] for row in rows}


def means(run: RunDir) -> dict[int, float]:
    return {row["step"]: row["validation_task_mean"] for row in rows_of(run) if "validation_task_mean" in row}


@pytest.mark.usefixtures("in_process")
def test_the_best_model_is_that_of_the_highest_mean_and_answers_as_it_did(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finetune(with_prompts(make(**SETTINGS)))
    found = means(run)
    assert list(found) == [4, 8, 10], "the untrained model answers nothing"
    best = max(found, key=lambda step: (found[step], -step))
    assert f"best mean of the tasks: {found[best]:.4f}, after step {best}" in capsys.readouterr().out
    of_tasks = [row for row in rows_of(run) if row["step"] == best and "validation_task_mean" in row]
    assert found[best] == pytest.approx(
        (of_tasks[0]["validation_task_a_task/bleu"] + of_tasks[0]["validation_task_b_task/rougeL"]) / 2
    )
    model = load_model(tiny_model(path=str(run.model)), seed=42, dtype=torch.float32).eval()
    prompts = [json.loads(line) for line in run.selection_prompts.read_text().splitlines()]
    again = continued(model, [row["ids"] for row in prompts], [row["limit"] for row in prompts], [])
    kept = answers(run, best)
    tokenizer = load_tokenizer(tiny_model())
    for row, ids in zip(prompts, again, strict=True):
        text, tokens = kept[row["_instance_id"]]
        assert tokenizer.decode(ids[:tokens], clean_up_tokenization_spaces=False).startswith(text)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("values", [{}, {"method": "lora", "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.1}])
def test_to_answer_changes_nothing_of_training(make: Make, values: dict[str, Any]) -> None:
    values = {**values, "neftune_alpha": 5.0, "activation_checkpointing": "all"}
    rest = {key: value for key, value in SETTINGS.items() if not key.startswith("best")} | {"keep": "last"}
    without = finetune(make("without", **{**rest, "eval_every": None}, **values))
    answering = finetune(with_prompts(make("with", **SETTINGS, **values)))
    assert [(row["loss"], row["grad_norm"]) for row in steps_of(answering)] == [
        (row["loss"], row["grad_norm"]) for row in steps_of(without)
    ]
    found = means(answering)
    if max(found, key=lambda step: (found[step], -step)) == 10:
        assert weights(answering) == weights(without)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 3])
def test_two_processes_give_the_answers_of_one(make: Make, stage: int) -> None:
    """Batches of two prompts: five for two processes, of which one has nothing to do in the last round."""
    if stage:
        pytest.importorskip("deepspeed")
        if shutil.which("g++") is None:
            pytest.skip("DeepSpeed compiles its CPU operator with g++")
    one = with_prompts(make("one", **SETTINGS), 9)
    two = with_prompts(make("two", num_processes=2, zero_stage=stage, **SETTINGS), 9)
    train(one)
    train(two, timeout=300)
    assert answers(two, 4) == answers(one, 4)
    assert list(means(two)) == list(means(one)) == [4, 8, 10]
    assert means(two)[4] == means(one)[4]


@pytest.mark.usefixtures("in_process")
def test_stopped_while_it_answers_it_resumes_as_if_undisturbed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from sciriff.finetune.task_scores import TaskScores

    whole, stopped = (with_prompts(make(name, **SETTINGS, checkpoint_every=3)) for name in ("whole", "stopped"))
    finetune(whole)
    measure = TaskScores.measure

    def asked_to_stop(self: TaskScores, *arguments: Any) -> dict[str, float] | None:
        stopped.stop_request.touch()
        return measure(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TaskScores, "measure", asked_to_stop)
        finetune(stopped)
    assert not list(stopped.selection.glob("step-*")) and not stopped.model.exists()
    stopped.stop_request.unlink()
    finetune(stopped)
    assert without_timings(stopped) == without_timings(whole)
    assert weights(stopped) == weights(whole)
    assert answers(stopped, 4) == answers(whole, 4)
