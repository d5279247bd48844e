"""A run folder with a random model of two layers, the sample's tokenizer and instances that a test writes."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from told_by_driver import told

from sciriff.config import (
    SAMPLE,
    Config,
    DeepspeedConfig,
    EngineConfig,
    EvalConfig,
    GeneralConfig,
    JudgeConfig,
    LogConfig,
    MixConfig,
    ModelConfig,
    ShapeConfig,
    TrainConfig,
    load,
    to_yaml,
)
from sciriff.models.loading import load_model
from sciriff.predict.__main__ import main
from sciriff.run.run_dir import RunDir

ROOT = Path(__file__).parents[1]


def row(instance_id: str, prompt: str, reference: str = "[]") -> dict[str, Any]:
    return {"input": prompt, "output": reference, "metadata": {}, "_instance_id": instance_id}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tiny_model(context: int = 256) -> ModelConfig:
    shape = ShapeConfig(
        layers=2,
        hidden=64,
        intermediate=96,
        heads=2,
        kv_heads=1,
        vocabulary=4096,
        context=context,
        tied_embeddings=True,
    )
    return ModelConfig(name="tiny", tokenizer=str(SAMPLE / "tokenizer"), chat="tulu", dtype="float32", shape=shape)


def save_lively_model(folder: Path) -> None:
    """Save a tiny model whose weights are ten times the usual size, so that its answers differ from prompt to prompt,
    and whose end token is likely enough that some of them end by themselves."""
    model = load_model(tiny_model(), seed=1, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(10)
        model.get_input_embeddings().weight[model.config.eos_token_id] *= 2
    model.save_pretrained(folder)


def make_run(
    folder: Path,
    *,
    model: ModelConfig | None = None,
    engine: EngineConfig | None = None,
    seed: int = 42,
    allow_missing: bool = False,
    general: GeneralConfig | None = None,
    **evaluation: Any,
) -> RunDir:
    """A run folder with its frozen config; further keys are those of conf/eval."""
    run = RunDir(folder)
    run.root.mkdir(exist_ok=True)
    config = Config(
        model=model or tiny_model(),
        mix=MixConfig(name="none"),
        train=TrainConfig(method="none"),
        deepspeed=DeepspeedConfig(zero_stage=0),
        engine=engine or EngineConfig(name="transformers"),
        eval=EvalConfig(**{"max_new_tokens": 24, **evaluation}),
        general=general or GeneralConfig(),
        judge=JudgeConfig(provider="none"),
        log=LogConfig(tracker="none"),
        cache_dir=str(folder / "cache"),
        run_dir=str(run.root),
        seed=seed,
        allow_missing=allow_missing,
    )
    run.config.write_text(to_yaml(config))
    return run


def start(run: RunDir, **environment: str) -> subprocess.Popen[str]:
    """The stage as the driver starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "sciriff.predict", str(run.root)],
        cwd=ROOT,
        env={**os.environ, **told(run), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(run: RunDir) -> str:
    """Run the stage to its end in this process and return what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        main(load(run.config), run)
    return output.getvalue()


def files_of(run: RunDir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.predictions.iterdir())}


def processes_below(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *processes_below(int(child))]
    return found
