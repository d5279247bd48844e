"""LoRA: small trained matrices beside frozen layers (Hu et al. 2021, arXiv 2106.09685); added, saved, and merged.

A layer with weight W computes W x + lora_alpha / lora_rank * B (A x); only A and B are trained.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sciriff.config import ModelConfig, TrainConfig, nearest
from sciriff.run.user_error import UserError

NAME = "default"
"""peft's name for a single adapter."""

PREFIX = "base_model.model."
"""Prefix of each name in peft's files, which wrap the model twice."""


def add(language_model: Any, train: TrainConfig, *, seed: int, dtype: torch.dtype) -> None:
    """Freeze the model and replace the layers of `train.lora_targets` by peft's, with adapters of type `dtype`.

    Their initial weights depend on `seed` alone; B is 0, so that the model's outputs are unchanged. UserError names a
    target that does not exist.
    """
    from peft import LoraConfig, inject_adapter_in_model

    _check_targets(language_model, train.lora_targets)
    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=train.lora_rank,
        lora_alpha=train.lora_alpha,
        lora_dropout=train.lora_dropout,
        target_modules=train.lora_targets or "all-linear",  # which peft takes to exclude the head
        bias="none",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, language_model, NAME)
    for parameter in language_model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def _check_targets(language_model: Any, targets: list[str] | None) -> None:
    """UserError for a name that no layer has: peft accepts a list as soon as one of its names is found."""
    from transformers.pytorch_utils import Conv1D

    head = language_model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in language_model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    for target in targets or ():
        if target not in names:
            raise UserError(f"train.lora_targets: there is no linear layer {target} to adapt{nearest(target, names)}")


def save(language_model: Any, weights: Mapping[str, torch.Tensor], model: ModelConfig, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors for peft from the language model's weights.

    A frozen model on the hub is named by its id. UserError if the file reads back differently, bit for bit.
    """
    from safetensors.torch import load_file, save_file

    adapter = {
        PREFIX + name.replace(f".{NAME}.", "."): tensor.detach().cpu().contiguous()
        for name, tensor in weights.items()
        if ".lora_A." in name or ".lora_B." in name
    }
    folder.mkdir()
    file = folder / "adapter_model.safetensors"
    save_file(adapter, file, metadata={"format": "pt"})
    about = language_model.peft_config[NAME]
    about.base_model_name_or_path, about.revision = model.hub_id, model.revision if model.hub_id else None
    about.inference_mode = True
    about.target_modules = sorted(about.target_modules)  # a set, whose order changes
    about.save_pretrained(folder)
    read = load_file(file)
    for name, tensor in adapter.items():
        if name not in read or not torch.equal(read[name], tensor):
            raise UserError(f"{file}: {name} reads back differently from what was trained; is the disk full?")


def merge(language_model: Any, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    """Replace `weights` by those of an equivalent model without adapters: W + lora_alpha / lora_rank * B A, summed in
    float32 and rounded to `dtype` once, on the CPU. W is dequantised if it was in four bits, as in training."""
    from peft.tuners.lora import LoraLayer

    for name, module in language_model.named_modules():
        if hasattr(module._parameters.get("weight"), "quant_state"):  # not `.weight`: peft shows the inner layer's
            from bitsandbytes.functional import dequantize_4bit

            for part in [key for key in weights if f"{key}.".startswith(f"{name}.weight.")]:
                del weights[part]
            weights[f"{name}.weight"] = dequantize_4bit(module.weight.data, module.weight.quant_state).cpu()
    for name, module in language_model.named_modules():
        if isinstance(module, LoraLayer):
            a, b = (weights.pop(f"{name}.lora_{letter}.{NAME}.weight").float() for letter in "AB")
            delta = module.scaling[NAME] * (b @ a)
            weight = weights.pop(f"{name}.base_layer.weight")
            delta = delta.T if module.fan_in_fan_out else delta  # GPT-2's layers are transposed
            weights[f"{name}.weight"] = (weight.float() + delta.to(weight.device)).to("cpu", dtype)
            if (bias := weights.pop(f"{name}.base_layer.bias", None)) is not None:
                weights[f"{name}.bias"] = bias
