"""Speed of training: operations of a step, and the share of the GPUs' peak that was used (MFU)."""

import math
from typing import Any

import torch

from sciriff.run import machine


def sequence_flops(parameters: int, length: int, layers: int, attention_width: int) -> float:
    """Floating-point operations that one pass forward and back over a sequence of so many tokens needs.

    6 * parameters per token (2 forward, 4 back; Kaplan et al. 2020, arXiv 2001.08361) and, for attention,
    12 * layers * width * length per token (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), of which a causal
    mask needs half. What activation checkpointing computes again does not count.
    """
    return float(6 * parameters * length + 6 * layers * attention_width * length * length)


def attention_width(config: Any) -> int:
    """Heads times head size, from a transformers config."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(config.num_attention_heads * head)


def matrix_parameters(model: torch.nn.Module) -> int:
    """Weights that a token is multiplied with: all but an embedding table that is only looked up.

    A frozen one counts for two thirds: of its 6 operations (`sequence_flops`) the 2 for its own gradient are not done.
    """

    def size(parameter: torch.nn.Parameter) -> int:
        if (four_bits := getattr(parameter, "quant_state", None)) is not None:
            return math.prod(four_bits.shape)
        return int(getattr(parameter, "ds_numel", parameter.numel()))  # ZeRO-3 leaves a stub here

    inputs, outputs = model.get_input_embeddings().weight, model.get_output_embeddings().weight  # type: ignore[operator]
    multiplied = [p for p in model.parameters() if p is outputs or p is not inputs]
    trained, frozen = (sum(size(p) for p in multiplied if p.requires_grad == yes) for yes in (True, False))
    return trained + frozen * 2 // 3


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Dense bf16 peak of this GPU in FLOP/s; None for one that is not in the table, for a CPU, and for fp32."""
    if device.type != "cuda" or precision == "fp32":
        return None
    kind = machine.gpu_type(torch.cuda.get_device_name(device))
    return machine.GPU_TYPES[kind].peak * 1e12 if kind else None


def peak_memory(device: torch.device) -> float | None:
    """GiB that this process has had allocated on its GPU at most; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
