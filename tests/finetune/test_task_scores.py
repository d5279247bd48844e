"""The best model by the scores of a few prompts, which the training answers itself (train.best_by=task_mean)."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from finetune_runs import Compose, finetune, rows_of, steps_of, train, weights, without_timings

from sciriff import config as configuration
from sciriff import score
from sciriff.config import SAMPLE, to_yaml
from sciriff.data.token_file import write_token_file
from sciriff.models.loading import read_tokenizer
from sciriff.predict import __main__ as predict
from sciriff.predict import selection_prompts
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir

Make = Callable[..., RunDir]

SETTINGS: dict[str, Any] = {
    "eval_every": 4,
    "keep": "best",
    "best_by": "task_mean",
    "learning_rate": 3e-2,
    "schedule": "constant",
    "warmup_ratio": 0.0,
    "validation": 8,
}
"""Constant, so that a shorter training is the beginning of this one."""
LORA = {"method": "lora", "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.1}


WORDS = "the cells of this gene and a protein in mice with two large groups".split()


def sentence(seed: int) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choices(WORDS, weights=range(len(WORDS), 0, -1), k=14))


def with_prompts(run: RunDir) -> RunDir:
    """The run with nine prompts of two tasks, of several lengths, in batches of two to four. Rows to train on and
    references are sentences of the same few words, so that a model of ten steps gets some right."""
    config = configuration.load(run.config)
    evaluation = replace(config.eval, max_new_tokens=24)
    config = replace(config, eval=evaluation, engine=replace(config.engine, batch_tokens=240))
    run.config.write_text(to_yaml(config))
    tokenizer = read_tokenizer(str(SAMPLE / "tokenizer"), "", "")
    texts = [tokenizer(sentence(number))["input_ids"] for number in range(40)]
    write_token_file(
        run.tokens, ((f"science.words/{n}", ids, [i > 0 for i in range(len(ids))]) for n, ids in enumerate(texts))
    )
    run.validation.parent.mkdir(exist_ok=True)
    run.mix.touch()
    rows = []
    for number in range(9):
        question = f"Name the words of {number}" + ", and of this text" * number
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": sentence(100 + number)}]
        rows.append({"dataset": f"science.task_{'ab'[number % 2]}", "id": f"r:{number}", "messages": messages})
    write_jsonl(run.validation, rows)
    if config.train.answers:
        selection_prompts.main(config, run)
    return run


def answers(run: RunDir, step: int) -> dict[str, list[Any]]:
    """Instance -> the text of its answer and its tokens after `step` steps."""
    rows = map(json.loads, (run.selection / f"step-{step}.jsonl").read_text().splitlines())
    return {row["instance_id"]: [row["prediction"], row["output_tokens"]] for row in rows}


def scores(run: RunDir) -> dict[int, dict[str, float]]:
    """Step -> `mean` and columns, as metrics.jsonl has them."""
    found = {}
    for row in rows_of(run):
        if "validation_task_mean" in row:
            values = {key.removeprefix("validation_task_"): value for key, value in row.items() if "_task_" in key}
            values.pop("seconds")
            found[row["step"]] = values
    return found


def best_of(run: RunDir) -> int:
    return max(scores(run), key=lambda step: (scores(run)[step]["mean"], -step))


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_the_chosen_model_scores_best_of_all_when_they_are_answered_again(
    make: Make, composed: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model of each measured step by itself, with `train=none`, has the scores in metrics.jsonl to the bit."""
    run = finetune(with_prompts(make(**SETTINGS)))
    best = best_of(run)
    assert f"best mean of the tasks: {scores(run)[best]['mean']:.4f}, after step {best}" in capsys.readouterr().out
    assert len({found["mean"] for found in scores(run).values()}) == 3, "nothing is chosen among equals"
    plain = {key: value for key, value in SETTINGS.items() if not key.startswith("best")} | {"keep": "last"}
    again: dict[int, dict[str, float]] = {}
    for step in scores(run):
        model = finetune(with_prompts(make(f"after-{step}", **plain, max_steps=step))).model
        if step == best:
            assert weights(RunDir(model.parent)) == weights(run)
        own = {"task_a": "rouge", "task_b": "rouge"}
        config = composed("experiment=demo", "train=none", "log=none", f"model.path={model}", "model.tokenizer=null")
        saved = configuration.load(run.config)
        wanted = replace(saved.eval, path=str(run.selection_prompts), own_tasks=own, tasks=[*own])
        config = replace(
            config, name="again", eval=wanted, engine=saved.engine, model=replace(config.model, shape=None)
        )
        config = replace(config, model=replace(config.model, shape=replace(saved.model.shape)))
        other = RunDir(run.root.parent / f"again-{step}")
        other.root.mkdir()
        predict.main(config, other)
        score.main(config, other)
        summary = json.loads(other.scores.read_text())["summary"]
        again[step] = {"mean": summary["mean"]} | {name: found["value"] for name, found in summary["columns"].items()}
    assert again == scores(run)
    assert max(again, key=lambda step: again[step]["mean"]) == best


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("values", [{}, pytest.param(LORA, marks=pytest.mark.slow)])
def test_to_answer_changes_nothing_of_training(make: Make, values: dict[str, Any]) -> None:
    values = {**values, "neftune_alpha": 5.0, "activation_checkpointing": "all", "max_steps": 4}
    plain = {key: value for key, value in SETTINGS.items() if not key.startswith("best")} | {"keep": "last"}
    without = finetune(with_prompts(make("without", **{**plain, "eval_every": None}, **values)))
    answering = finetune(with_prompts(make("with", **{**SETTINGS, "eval_every": 2}, **values)))
    assert list(scores(answering)) == [2, 4], "the untrained model answers nothing"
    assert [(row["loss"], row["grad_norm"]) for row in steps_of(answering)] == [
        (row["loss"], row["grad_norm"]) for row in steps_of(without)
    ]
    assert best_of(answering) < 4 or weights(answering) == weights(without)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_two_processes_under_zero_3_give_the_answers_of_one(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Batches of unequal lengths, and an odd number of them: one process has nothing to do in the last round."""
    pytest.importorskip("deepspeed")
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed compiles its CPU operator with g++")
    settings = {**SETTINGS, "max_steps": 4, "eval_every": 2}
    one = finetune(with_prompts(make("one", **settings)))
    assert "9 prompts are answered every 2 steps and at the end, in 3 batches" in capsys.readouterr().out
    two = with_prompts(make("two", num_processes=2, zero_stage=3, **settings))
    train(two, timeout=300)
    assert list(scores(two)) == [2, 4]
    assert [answers(two, step) for step in (2, 4)] == [answers(one, step) for step in (2, 4)]
    assert scores(two) == scores(one)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_stopped_while_it_answers_it_resumes_as_if_undisturbed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from sciriff.finetune.task_scores import TaskScores

    settings = {**SETTINGS, "checkpoint_every": 3, "max_steps": 6}
    whole, stopped = (with_prompts(make(name, **settings)) for name in ("whole", "stopped"))
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
