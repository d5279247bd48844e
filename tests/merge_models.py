"""Tiny Llama folders to be merged: random weights in one file or several, the sample's tokenizer, a chat template."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from sciriff.config import (
    SAMPLE,
    Config,
    DeepspeedConfig,
    EngineConfig,
    EvalConfig,
    JudgeConfig,
    LogConfig,
    MergeConfig,
    MixConfig,
    ModelConfig,
    TrainConfig,
    to_yaml,
)
from sciriff.models.chat_markup import jinja_template
from sciriff.run.run_dir import RunDir

HIDDEN, INNER, LAYERS, ROWS = 16, 24, 2, 2048
ABOUT = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": ROWS,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}


def shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (ROWS, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        above = f"model.layers.{layer}."
        for name, rows in (("q", HIDDEN), ("k", 8), ("v", 8), ("o", HIDDEN)):
            found[f"{above}self_attn.{name}_proj.weight"] = (rows, HIDDEN)
        found[f"{above}mlp.gate_proj.weight"] = found[f"{above}mlp.up_proj.weight"] = (INNER, HIDDEN)
        found[f"{above}mlp.down_proj.weight"] = (HIDDEN, INNER)
        found[f"{above}input_layernorm.weight"] = found[f"{above}post_attention_layernorm.weight"] = (HIDDEN,)
    return found


def random_weights(seed: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).mul(0.3).to(dtype) for name, shape in shapes().items()}


def write_model(
    folder: Path,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.bfloat16,
    files: int = 1,
    chat: str | None = "tulu",
    weights: Mapping[str, torch.Tensor] | None = None,
    **about: Any,
) -> Path:
    """A model folder. `about` are further keys of its config.json."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**ABOUT, "dtype": str(dtype).removeprefix("torch."), **about}))
    for file in (SAMPLE / "tokenizer").iterdir():
        shutil.copy(file, folder / file.name)
    if chat is not None:
        (folder / "chat_template.jinja").write_text(jinja_template(chat) or "")
    write_weights(folder, weights or random_weights(seed, dtype), files)
    return folder


def write_weights(folder: Path, weights: Mapping[str, torch.Tensor], files: int = 1) -> None:
    names = list(weights)
    if files == 1:
        save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
        return
    where = {name: f"model-{place % files + 1:05d}-of-{files:05d}.safetensors" for place, name in enumerate(names)}
    for file in set(where.values()):
        of_file = {name: weights[name] for name in names if where[name] == file}
        save_file(of_file, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def merge_config(run_dir: Path, merge: MergeConfig, **model: Any) -> Config:
    """The config of a run that only merges."""
    settings = {"name": "merged", "path": merge.models[0], "chat": "tulu", "dtype": "bfloat16", **model}
    return Config(
        model=ModelConfig(**settings),
        mix=MixConfig(name="none"),
        train=TrainConfig(method="none"),
        deepspeed=DeepspeedConfig(zero_stage=0),
        engine=EngineConfig(name="transformers"),
        eval=EvalConfig(),
        judge=JudgeConfig(provider="none"),
        log=LogConfig(tracker="none"),
        merge=merge,
        stages=["merge"],
        name=run_dir.name,
        cache_dir=str(run_dir.parent / "cache"),
        run_dir=str(run_dir),
    )


def frozen_run(config: Config) -> RunDir:
    run = RunDir(Path(config.run_dir))
    run.root.mkdir(parents=True, exist_ok=True)
    run.config.write_text(to_yaml(config))
    return run
