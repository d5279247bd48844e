"""Losses on validation rows, and the best model kept; trainings in this process."""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from finetune_runs import (
    SHAPE,
    Compose,
    finetune,
    losses,
    rows_of,
    steps_of,
    tiny_model,
    validation_rows,
    validations,
    weights,
    without_timings,
)
from torch.nn import functional

from sciriff.data.token_file import TokenFile, write_token_file
from sciriff.models.loading import load_model
from sciriff.run.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("in_process")

Make = Callable[..., RunDir]

BEST = {"learning_rate": 3e-2, "schedule": "constant", "warmup_ratio": 0.0, "eval_every": 2, "keep": "best"}
"""A learning rate so high that the validation loss is lowest after two steps (8.3, then 9.3 and more), and constant, so
that a shorter training is the beginning of this one."""


def test_it_is_the_mean_over_the_target_tokens_of_each_half(make: Make) -> None:
    run = finetune(make(validation=10, eval_every=1, max_steps=1, micro_batch_tokens=100))
    data = TokenFile(run.validation_tokens)
    model = load_model(tiny_model(), seed=42, dtype=torch.float32)
    totals = {"science": [0.0, 0], "general": [0.0, 0]}
    for index, row_id in enumerate(data.ids):  # one at a time, with transformers' own forward
        tokens, targets = (torch.from_numpy(part) for part in data[index])
        logits = model(input_ids=tokens[None].long()).logits[0, :-1]
        half = totals["science" if row_id.startswith("science.") else "general"]
        half[0] += functional.cross_entropy(logits, tokens[1:].long(), reduction="none")[targets[1:]].sum().item()
        half[1] += int(targets[1:].sum())
    assert totals["general"][1] > 0
    expected = [total / count for total, count in totals.values()]
    assert list(validations(run)[0]) == pytest.approx([0, *expected], abs=1e-5)


def test_it_changes_nothing_of_training(make: Make) -> None:
    without, with_it = finetune(make("without")), finetune(make("with", validation=10, eval_every=2))
    assert [(row["loss"], row["grad_norm"]) for row in steps_of(with_it)] == [
        (row["loss"], row["grad_norm"]) for row in steps_of(without)
    ]
    assert weights(with_it) == weights(without)


def test_it_is_measured_before_training_every_so_many_steps_and_at_the_end(make: Make) -> None:
    run = finetune(make(validation=4, eval_every=4))
    rows = [(row["step"], "loss" in row) for row in rows_of(run)]
    assert rows[:2] == [(0, False), (1, True)]
    assert [step for step, is_step in rows if not is_step] == [0, 4, 8, 10]
    assert rows.index((4, False)) == rows.index((4, True)) + 1


def test_without_rows_it_is_said(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = finetune(make(eval_every=2, max_steps=2))
    assert "no validation loss: the mix has no validation rows" in capsys.readouterr().out
    assert validations(run) == []


def test_rows_that_are_too_long_are_left_out_and_a_half_may_be_missing(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(validation=4, eval_every=2, max_steps=2, max_length=60)
    rows = [row for row in validation_rows(8) if row[0].startswith("science.")]
    write_token_file(run.validation_tokens, [*rows, ("science.long/0", [5] * 61, [True] * 61)])
    finetune(run)
    assert f"1 of {len(rows) + 1} validation rows left out: longer than train.max_length=60" in capsys.readouterr().out
    assert all(science > 0 and general is None for _, science, general in validations(run))


def best_of(run: RunDir) -> int:
    return min((science, step) for step, science, _ in validations(run) if step)[1]


def test_the_best_model_is_kept(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = finetune(make(validation=8, **BEST))
    best = best_of(run)
    assert 0 < best < 10
    lowest = min(science for step, science, _ in validations(run) if step)
    assert f"best science validation loss: {lowest:.4f}, after step {best}" in capsys.readouterr().out
    card = (run.model / "README.md").read_text()
    assert f"the model after step {best} of 10." in card
    assert f"| validation, science rows, this model, after step {best} | {lowest:.4f} |" in card
    shorter = finetune(make("shorter", validation=8, **{**BEST, "keep": "last"}, max_steps=best))
    assert weights(run) == weights(shorter)
    assert not run.checkpoints.exists()


def test_where_the_best_is_gone_the_next_best_is_taken(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {**BEST, "validation": 8, "keep_checkpoints": True}
    last = finetune(make("last", **{**settings, "keep": "last"}))
    run = finetune(make(**settings))
    best = best_of(run)
    shutil.rmtree(run.model)  # as after a kill while it was written, and all checkpoints but the last are gone
    capsys.readouterr()
    finetune(run)
    printed = capsys.readouterr().out
    assert f"the checkpoint of step {best}, the best one, is damaged or gone; the next best is used" in printed
    assert "validation loss: " in printed and ", after step 10" in printed
    assert losses(run) == losses(last)
    assert weights(run) == weights(last)


def finetune_until(run: RunDir, last_step: int) -> None:
    """Train, and request a stop as soon as `last_step` steps have rows."""

    def ask() -> None:
        while not (run.metrics.exists() and run.metrics.read_bytes().count(b'"loss"') >= last_step):
            time.sleep(0.001)
        run.stop_request.touch()  # noticed in the validation, if one is due, or in the next step

    thread = threading.Thread(target=ask)
    thread.start()
    finetune(run)
    thread.join()
    run.stop_request.unlink()


@pytest.mark.slow
def test_stopped_at_any_moment_it_resumes_as_if_undisturbed(make: Make) -> None:
    settings = {"validation": 8, "checkpoint_every": 3, **BEST}
    whole, stopped = finetune(make("whole", **settings)), make("stopped", **settings)
    stopped.stop_request.touch()
    finetune(stopped)  # before the first step, while the validation is measured
    assert rows_of(stopped) == []
    stopped.stop_request.unlink()
    for step in (2, 5, 6, 10):
        finetune_until(stopped, step)
    finetune(stopped)
    assert without_timings(stopped) == without_timings(whole)
    assert weights(stopped) == weights(whole)


def test_the_best_cannot_be_kept_without_rows_to_measure_it_on(make: Make, composed: Compose) -> None:
    run = make(validation=8, **BEST)
    shutil.rmtree(run.validation_tokens)
    with pytest.raises(ValueError, match=r"there are no rows in .*validation_tokens .*\(mix\.validation_rows=8;"):
        finetune(run)
    options = ("experiment=demo", "train.keep=best")
    with pytest.raises(ValueError, match=r"train\.keep=best needs train\.eval_every=STEPS, and it is null"):
        composed(*options)
    with pytest.raises(ValueError, match=r"and mix\.validation_rows=0 draws none"):
        composed(*options, "train.eval_every=5")
    with pytest.raises(ValueError, match=r"and mix\.path=m\.jsonl brings none"):
        composed(*options, "train.eval_every=5", "mix.path=m.jsonl", "mix.validation_rows=0")
    composed(*options, "train.eval_every=5", "mix.validation_rows=5")


def test_a_loss_that_is_not_finite_is_said_and_left_out(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    untied = tiny_model(shape=replace(SHAPE, tied_embeddings=False))
    start = finetune(make("start", max_steps=1, model=untied))
    file = start.model / "model.safetensors"
    state = load_file(file)
    state["model.embed_tokens.weight"][3999] = float("inf")  # a token of no training row
    save_file(state, file, metadata={"format": "pt"})
    model = tiny_model(path=str(start.model), tokenizer=None)
    run = make(model=model, validation=8, eval_every=1, max_steps=1)
    write_token_file(run.validation_tokens, [("science.a/0", [5, 3999, 7], [False, True, True])])
    finetune(run)
    assert "warning: the validation loss of the science rows is not finite" in capsys.readouterr().out
    assert validations(run) == [(0, None, None), (1, None, None)]
