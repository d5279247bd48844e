"""Validation, the best model and going on after a stop, on a GPU. Skipped where there is none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import SHAPE, Compose, losses, make_run, rows_of, steps_of, tiny_model, train, validations, weights

from sciriff.run_dir import RunDir

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

Make = Callable[..., RunDir]
TIMEOUT = 300


@pytest.fixture
def make(composed: Compose, tmp_path: Path) -> Make:
    """Heads of 64, which every attention kernel takes."""
    shape = replace(SHAPE, hidden=256, heads=4, kv_heads=2, tied_embeddings=False)
    defaults: dict[str, Any] = {"model": tiny_model(shape=shape, dtype="bfloat16"), "precision": "bf16"}
    return lambda name="run", **values: make_run(composed, tmp_path / name, **{**defaults, **values})


def trained(run: RunDir) -> RunDir:
    train(run, timeout=TIMEOUT, gpus=1)
    return run


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_it_is_what_the_cpu_measures_and_leaves_training_alone(make: Make, stage: int) -> None:
    if stage:
        pytest.importorskip("deepspeed")
    settings = {"precision": "fp32", "validation": 12}
    without = trained(make("without", zero_stage=stage, **settings))
    with_it = trained(make("with", zero_stage=stage, eval_every=4, **settings))
    cpu = make("cpu", eval_every=4, **settings)
    train(cpu, timeout=TIMEOUT)
    assert losses(with_it) == pytest.approx(losses(without), abs=1e-4)
    assert [step for step, _, _ in validations(with_it)] == [0, 4, 8, 10]
    for measured, reference in zip(validations(with_it), validations(cpu), strict=True):
        assert measured == pytest.approx(reference, abs=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "bf16_pure"])
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_the_best_model_survives_stops(make: Make, stage: int, precision: str) -> None:
    if stage:
        pytest.importorskip("deepspeed")
    fast = {"learning_rate": 1e-2, "schedule": "constant", "warmup_ratio": 0.0, "eval_every": 3, "keep": "best"}
    settings = {**fast, "zero_stage": stage, "precision": precision, "validation": 12, "checkpoint_every": 2}
    whole, stopped = trained(make("whole", **settings)), make("stopped", **settings)
    stopped.stop_request.touch()  # heard in the validation before the first step
    assert "stopped as asked before the first step" in train(stopped, timeout=TIMEOUT, gpus=1)
    stopped.stop_request.unlink()
    train(stopped, timeout=TIMEOUT, gpus=1)
    assert [row["step"] for row in steps_of(stopped)] == list(range(1, 11))
    assert losses(stopped) == pytest.approx(losses(whole), abs=5e-3)
    assert len(weights(stopped)) == len(weights(whole))
    assert not stopped.checkpoints.exists()


@pytest.mark.parametrize("precision", ["bf16", "bf16_pure"])
@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeeds_states_come_back(make: Make, stage: int, precision: str) -> None:
    """Master weights, moments and step: without them the losses after the stop differ by 1e-2."""
    pytest.importorskip("deepspeed")
    settings = {"zero_stage": stage, "precision": precision}
    whole, stopped = trained(make("whole", **settings)), make("stopped", **settings)
    stopped.stop_request.touch()
    assert "stopped as asked after step 1" in train(stopped, timeout=TIMEOUT, gpus=1)
    stopped.stop_request.unlink()
    assert "going on from" in train(stopped, timeout=TIMEOUT, gpus=1)
    assert [row["step"] for row in rows_of(stopped)] == list(range(1, 11))
    assert losses(stopped) == pytest.approx(losses(whole), abs=5e-3)
