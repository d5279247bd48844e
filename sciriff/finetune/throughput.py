"""Training speed: FLOPs of a step, and model FLOP/s utilisation (MFU)."""

import math
from typing import Any

import torch

from sciriff.finetune.text_model import named_modules, named_parameters
from sciriff.models.parts import attends, expert_modules, layers_of, number, share_of_experts, values_of_layers
from sciriff.run import machine


def sequence_flops(parameters: int, length: int, layers: int, attention_width: int) -> float:
    """Return the floating-point operations of one forward and backward pass over a sequence of `length` tokens.

    Per token 6 * parameters (2 forward, 4 backward; Kaplan et al. 2020, arXiv 2001.08361) and for attention half of 12
    * layers * width * length (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), with a causal mask.
    """
    return float(6 * parameters * length + 6 * layers * attention_width * length * length)


def attention_width(config: Any) -> int:
    """Return heads times head size, from a transformers config; the mean where layers differ."""
    heads = number(config, "num_attention_heads")
    if heads is None:  # a state-space model
        return 0
    sizes = [size or config.hidden_size // heads for size in values_of_layers(config, "head_dim")]
    return heads * sum(sizes) // len(sizes)


def attention_layers(model: torch.nn.Module) -> int:
    """Return the number of layers with attention: of a hybrid with state-space layers not all."""
    return sum(map(attends, layers_of(model)))


def matrix_parameters(model: torch.nn.Module) -> int:
    """Return the number of weights that each token is multiplied with: those that text goes through, but tables of
    embeddings that are not the output layer's too, and of experts as many as a token goes to. A frozen weight counts
    two thirds: 2 of its 6 operations (`sequence_flops`) are for its own gradient."""
    experts = {id(weight) for part in expert_modules(model).values() for weight in part.parameters()}
    share = share_of_experts(model.config.get_text_config())  # type: ignore[operator, union-attr]

    def size(parameter: torch.nn.Parameter) -> int:
        return round(share * whole(parameter)) if id(parameter) in experts else whole(parameter)

    def whole(parameter: torch.nn.Parameter) -> int:
        if (four_bits := getattr(parameter, "quant_state", None)) is not None:
            return math.prod(four_bits.shape)
        return int(getattr(parameter, "ds_numel", parameter.numel()))  # ZeRO-3 leaves an empty stub

    outputs = model.get_output_embeddings().weight  # type: ignore[operator]
    tables = {id(m.weight) for _, m in named_modules(model) if isinstance(m, torch.nn.Embedding)} - {id(outputs)}
    multiplied = [p for _, p in named_parameters(model) if id(p) not in tables]
    trained, frozen = (sum(size(p) for p in multiplied if p.requires_grad == yes) for yes in (True, False))
    return trained + frozen * 2 // 3


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Return the dense bf16 peak of this GPU in FLOP/s; None in fp32, on a CPU, and for a GPU not in the table."""
    if device.type != "cuda" or precision == "fp32":
        return None
    kind = machine.gpu_type(torch.cuda.get_device_name(device))
    return machine.GPU_TYPES[kind].peak * 1e12 if kind else None


def peak_memory(device: torch.device) -> float | None:
    """Return the peak GiB that this process has allocated on its GPU; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
