"""The training stage on a GPU, started by the driver's command. Skipped where there is none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import SHAPE, Compose, losses, make_run, rows_of, steps_of, tiny_model, train, validations, weights

from sciriff.run.run_dir import RunDir

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
    defaults: dict[str, Any] = {"model": tiny_model(shape=shape, dtype="bfloat16"), "max_steps": 20}
    return lambda name="run", **values: make_run(composed, tmp_path / name, **{**defaults, **values})


def trained(run: RunDir) -> RunDir:
    train(run, timeout=TIMEOUT, gpus=1)
    return run


def test_fp32_on_the_gpu_is_what_the_cpu_does(make: Make) -> None:
    here, there = trained(make("gpu", precision="fp32")), make("cpu", precision="fp32")
    train(there, timeout=TIMEOUT)
    assert losses(here) == pytest.approx(losses(there), abs=1e-3)
    assert rows_of(here)[-1]["memory"] > 0


@pytest.mark.parametrize("precision", ["bf16", "bf16_pure"])
@pytest.mark.parametrize("attention", ["sdpa", "auto"])
def test_bf16(make: Make, precision: str, attention: str) -> None:
    reference = losses(trained(make("fp32", precision="fp32")))
    run = trained(make(precision=precision, attention=attention, activation_checkpointing="all"))
    assert losses(run) == pytest.approx(reference, abs=0.05)
    assert (run.model / "config.json").is_file()


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16_pure"])
def test_deepspeed_does_what_the_plain_loop_does(make: Make, stage: int, precision: str) -> None:
    pytest.importorskip("deepspeed")
    plain = losses(trained(make("plain", precision=precision)))
    run = trained(make(precision=precision, zero_stage=stage, activation_checkpointing="all"))
    assert losses(run) == pytest.approx(plain, abs=1e-4 if precision == "fp32" else 0.02)
    assert (run.model / "config.json").is_file()


@pytest.mark.parametrize("precision", ["bf16", "bf16_pure"])
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_it_goes_on_from_a_checkpoint(make: Make, stage: int, precision: str) -> None:
    """Master weights, moments and step come back: without them the next losses differ by 1e-2."""
    if stage:
        pytest.importorskip("deepspeed")
    settings = {"precision": precision, "zero_stage": stage, "checkpoint_every": 3}
    whole, stopped = trained(make("whole", **settings)), make("stopped", **settings)
    for _ in range(2):
        stopped.stop_request.touch()
        assert "stopped as asked" in train(stopped, timeout=TIMEOUT, gpus=1)
    stopped.stop_request.unlink()
    assert "resuming from" in train(stopped, timeout=TIMEOUT, gpus=1)
    assert [row["step"] for row in rows_of(stopped)] == list(range(1, 21))
    assert losses(stopped) == pytest.approx(losses(whole), abs=5e-3)


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_the_validation_loss_is_what_the_cpu_measures_and_leaves_training_alone(make: Make, stage: int) -> None:
    if stage:
        pytest.importorskip("deepspeed")
    settings = {"precision": "fp32", "validation": 12}
    without = trained(make("without", zero_stage=stage, **settings))
    with_it = trained(make("with", zero_stage=stage, eval_every=8, **settings))
    cpu = make("cpu", eval_every=8, **settings)
    train(cpu, timeout=TIMEOUT)
    assert losses(with_it) == pytest.approx(losses(without), abs=1e-4)
    assert [step for step, _, _ in validations(with_it)] == [0, 8, 16, 20]
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
    assert [row["step"] for row in steps_of(stopped)] == list(range(1, 21))
    assert losses(stopped) == pytest.approx(losses(whole), abs=5e-3)
    assert len(weights(stopped)) == len(weights(whole))
    assert not stopped.checkpoints.exists()
