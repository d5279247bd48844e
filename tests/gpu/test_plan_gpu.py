"""The plan against memory that was really taken, and DeepSpeed's sizes on a real GPU. Skipped where there is none."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import losses, make_run, rows_of, tiny_model, train

from sciriff import config as configuration
from sciriff.config import Config, DeepspeedConfig, ShapeConfig
from sciriff.data.token_file import write_token_file
from sciriff.models.training_memory import training_memory
from sciriff.run import machine
from sciriff.run.run_dir import RunDir

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TIMEOUT = 900
SEVEN_B = ShapeConfig(layers=32, hidden=4096, intermediate=11008, heads=32, kv_heads=32, vocabulary=32000, context=4096)
TWO_SEVEN_B = ShapeConfig(
    layers=12, hidden=4096, intermediate=11008, heads=32, kv_heads=32, vocabulary=32000, context=4096
)


def long_run(composed: Callable[..., Config], root: Path, shape: ShapeConfig, **values: Any) -> RunDir:
    """Two steps of micro-batches that are full: sequences of the whole context."""
    defaults: dict[str, Any] = {
        "max_steps": 2,
        "global_batch_size": 8,
        "max_length": 4096,
        "micro_batch_tokens": 8192,
        "activation_checkpointing": "all",
    }
    run = make_run(composed, root, model=tiny_model(shape=shape, dtype="bfloat16"), **{**defaults, **values})
    ids = [10 + number % 3000 for number in range(4096)]
    write_token_file(run.tokens, ((f"long/{n}", ids, [False] + [True] * 4095) for n in range(16)))
    return run


@pytest.mark.parametrize(
    ("tokens", "checkpointing"), [(8192, "all"), (16_384, "all"), (4096, "none"), (8192, 16), (12_288, 24)]
)
def test_a_7b_shape_takes_what_the_plan_says(
    composed: Callable[..., Config], tmp_path: Path, tokens: int, checkpointing: Any
) -> None:
    (gpu, *_) = machine.gpus()
    settings = {"micro_batch_tokens": tokens, "activation_checkpointing": checkpointing, "precision": "bf16_pure"}
    run = long_run(composed, tmp_path / "run", SEVEN_B, **settings)
    planned = training_memory(configuration.load(run.config), 1, on_gpu=True)
    if planned.total > gpu.memory:
        pytest.skip(f"needs a GPU of {planned.total:.0f} GiB")
    train(run, timeout=TIMEOUT, gpus=1)
    assert rows_of(run)[-1]["memory"] == pytest.approx(planned.allocated, rel=0.15)


@pytest.mark.parametrize("offload", [False, True])
def test_zero3_takes_what_the_plan_says(composed: Callable[..., Config], tmp_path: Path, offload: bool) -> None:
    pytest.importorskip("deepspeed")
    (gpu, *_) = machine.gpus()
    deepspeed = DeepspeedConfig(zero_stage=3, offload=offload)
    run = long_run(composed, tmp_path / "run", TWO_SEVEN_B, precision="bf16", deepspeed=deepspeed)
    planned = training_memory(configuration.load(run.config), 1, on_gpu=True, capacity=gpu.memory)
    if planned.total > gpu.memory:
        pytest.skip(f"needs a GPU of {planned.total:.0f} GiB")
    train(run, timeout=TIMEOUT, gpus=1, gpu_memory=gpu.memory)
    assert rows_of(run)[-1]["memory"] == pytest.approx(planned.allocated, rel=0.15)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_sizes_for_the_gpu_change_nothing_that_is_learnt(
    composed: Callable[..., Config], tmp_path: Path, precision: str
) -> None:
    pytest.importorskip("deepspeed")
    (gpu, *_) = machine.gpus()
    own, ours = (make_run(composed, tmp_path / name, zero_stage=3, precision=precision) for name in ("own", "ours"))
    train(own, timeout=TIMEOUT, gpus=1)
    train(ours, timeout=TIMEOUT, gpus=1, gpu_memory=gpu.memory)
    assert "stage3_max_live_parameters" in json.loads(ours.deepspeed.read_text())["zero_optimization"]
    assert losses(ours) == pytest.approx(losses(own), abs=1e-4 if precision == "fp32" else 0.02)


def test_resident_whole_layers_are_quicker_than_deepspeeds_own_sizes(tmp_path: Path) -> None:
    """The 2.7B shape with 8,192 tokens: 0.60 of plain torch was measured with those, 0.85 is the goal."""
    pytest.importorskip("deepspeed")
    (gpu, *_) = machine.gpus()
    if gpu.memory < 70:
        pytest.skip("needs a GPU of 70 GiB")
    script = Path(__file__).parents[2] / "benchmarks" / "train_step.py"
    only = ["--only", "packed", "zero3", "zero3_defaults", "--shape", "2.7b", "--rounds", "2"]
    output = subprocess.run(
        [sys.executable, str(script), *only], capture_output=True, text=True, timeout=TIMEOUT, check=True
    ).stdout
    (ratio,) = (line for line in output.splitlines() if line.startswith("zero3 / zero3_defaults"))
    assert float(ratio.split()[-1]) > 1, output
