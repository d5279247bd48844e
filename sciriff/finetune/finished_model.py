"""Write the trained weights as RUN/model, a plain Hugging Face folder, and read it back before it counts as there."""

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from sciriff.chat import end_ids, jinja_template
from sciriff.config import ModelConfig
from sciriff.pretrained import load_tokenizer


def is_complete(folder: Path) -> bool:
    """Whether a finished model stands here. It comes by a rename, so that its config means that the rest is there."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def write(model: ModelConfig, language_model: Any, weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write weights in `model.dtype`, config, generation config and tokenizer into `folder`, verified, then renamed.

    `language_model` is the transformers model that was trained; only its class and configuration are used.
    """
    dtype = getattr(torch, model.dtype)
    weights = {name: tensor.detach().to("cpu", dtype) for name, tensor in weights.items()}
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    language_model.save_pretrained(partial, state_dict=dict(weights))  # it empties the dict
    config = deepcopy(language_model.config)
    config.dtype = dtype
    config.save_pretrained(partial)
    tokenizer = load_tokenizer(model)
    _generation_config(model, tokenizer).save_pretrained(partial)
    if (template := jinja_template(model.chat)) is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(partial)
    verify(partial, weights)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)


def verify(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Load the folder as a user would and compare every weight, bit for bit. ValueError names one that differs."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=next(iter(weights.values())).dtype).state_dict()
    if missing := sorted(weights.keys() ^ loaded.keys()):
        raise ValueError(f"{folder}: {missing[0]} was trained but not saved, or the other way round; is the disk full?")
    for name, tensor in weights.items():
        if not torch.equal(tensor, loaded[name]):
            raise ValueError(f"{folder}: {name} reads back differently from what was trained; is the disk full?")


def _generation_config(model: ModelConfig, tokenizer: Any) -> Any:
    """Greedy, ended by what ends an answer in training. What a published model brings is not kept: its sampling
    settings are of all kinds, and its end tokens are those of another markup."""
    from transformers import GenerationConfig

    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_ids(model.chat, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
