"""Run folders with a tiny model and made-up tokens, and the training stage started on them as the driver does."""

import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciriff import config as configuration
from sciriff.config import SAMPLE, Config, DeepspeedConfig, ModelConfig, ShapeConfig, TrainConfig, to_yaml
from sciriff.data.token_file import write_token_file
from sciriff.finetune import launch_files
from sciriff.run.run_dir import RunDir

Compose = Callable[..., Config]

SHAPE = ShapeConfig(
    layers=2, hidden=64, intermediate=128, heads=4, kv_heads=2, vocabulary=4096, context=128, tied_embeddings=True
)
TRAIN = TrainConfig(
    method="full",
    epochs=1,
    max_steps=10,
    learning_rate=1e-3,
    global_batch_size=6,
    micro_batch_tokens=256,
    max_length=100,
    precision="fp32",
    activation_checkpointing="none",
    checkpoint_every=None,
    schedule="cosine",
    warmup_ratio=0.2,
    num_processes=1,
    weight_decay=0.01,
)


def tiny_model(**values: Any) -> ModelConfig:
    settings = {"name": "t", "tokenizer": str(SAMPLE / "tokenizer"), "chat": "tulu", "dtype": "float32"}
    return ModelConfig(**{**settings, "shape": replace(SHAPE), **values})


def make_run(
    composed: Compose, root: Path, *, zero_stage: int = 0, rows: int = 40, validation: int = 0, **values: Any
) -> RunDir:
    """A run folder with config.yaml, mix/tokens and so many validation rows, a quarter of them general ones; `values`
    are keys of `train`, or `model` or `deepspeed` whole."""
    model = values.pop("model", tiny_model())
    deepspeed = values.pop("deepspeed", DeepspeedConfig(zero_stage=zero_stage))
    demo = composed("experiment=demo", "log=none", "name=t", f"run_dir={root}")
    config = replace(
        demo,
        mix=replace(demo.mix, validation_rows=validation),
        model=model,
        deepspeed=deepspeed,
        train=replace(TRAIN, **values),
    )
    root.mkdir(parents=True, exist_ok=True)
    run = RunDir(root)
    run.config.write_text(to_yaml(config))
    write_token_file(run.tokens, made_up_rows(rows))
    if validation:
        write_token_file(run.validation_tokens, validation_rows(validation))
    return run


def validation_rows(count: int) -> Iterator[tuple[str, list[int], list[bool]]]:
    """Rows of tokens that no row to train on has, every fourth of a general source: at a high learning rate their loss
    soon rises, so that the best model is not the last."""
    for number, (row_id, tokens, targets) in enumerate(made_up_rows(count, seed=1)):
        yield (row_id if number % 4 else f"general/{number}", [token + 2000 for token in tokens], targets)


def finetune(run: RunDir, **train: Any) -> RunDir:
    """Train in this process, with keys of `train` changed in config.yaml first."""
    from accelerate.state import AcceleratorState

    from sciriff.finetune import loop

    AcceleratorState._reset_state(reset_partial_state=True)
    config = configuration.load(run.config)
    config = replace(config, train=replace(config.train, **train))
    run.config.write_text(to_yaml(config))
    loop.finetune(config, run)
    return run


def weights(run: RunDir) -> bytes:
    return (run.model / "model.safetensors").read_bytes()


def made_up_rows(count: int, seed: int = 0) -> Iterator[tuple[str, list[int], list[bool]]]:
    """Rows of 4 to 60 tokens below 300, whose second halves are learnt and repeat the first."""
    chance = random.Random(seed)
    for number in range(count):
        half = [chance.randrange(10, 300) for _ in range(chance.randint(2, 30))]
        yield f"science.made_up/{number}", half + half, [False] * len(half) + [True] * len(half)


def start(run: RunDir, gpus: int = 0, gpu_memory: float | None = None) -> "subprocess.Popen[str]":
    """The training stage as the driver starts it on a machine with so many GPUs, in a process group of its own. With
    `gpu_memory` (GiB), DeepSpeed's sizes are those for GPUs of so much, whatever there is."""
    command, environment = launch_files.write(configuration.load(run.config), run, gpus, gpu_memory)
    hidden = {} if gpus else {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        env={**os.environ, **environment, **hidden},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]", timeout: float) -> str:
    """What the stage printed. Whatever happens, nothing of it is left running: the ranks die with their launcher."""
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return output


def train(
    run: RunDir, timeout: float = 180, gpus: int = 0, fails: bool = False, gpu_memory: float | None = None
) -> str:
    """Run the stage to its end and return its output."""
    process = start(run, gpus, gpu_memory)
    output = finish(process, timeout)
    assert (process.returncode != 0) == fails, output
    return output


def rows_of(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def steps_of(run: RunDir) -> list[dict[str, Any]]:
    """The rows of optimizer steps."""
    return [row for row in rows_of(run) if "loss" in row]


def losses(run: RunDir) -> list[float]:
    return [row["loss"] for row in steps_of(run)]


def validations(run: RunDir) -> list[tuple[int, float, float]]:
    """(step, science loss, general loss) of every validation."""
    rows = [row for row in rows_of(run) if "loss" not in row]
    return [(row["step"], row["validation_science_loss"], row["validation_general_loss"]) for row in rows]


def without_timings(run: RunDir) -> list[dict[str, Any]]:
    """All rows, in order, less what a clock says."""
    return [{k: v for k, v in row.items() if "seconds" not in k and "per_second" not in k} for row in rows_of(run)]
