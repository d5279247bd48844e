"""AdamW whose moments take 8 bits instead of 32 (Dettmers et al. 2021, arXiv 2110.02861), by bitsandbytes."""

from typing import Any

import torch
from torch import nn

SMALLEST = 4096
"""Elements from which on bitsandbytes keeps a parameter's moments in 8 bits; those of smaller ones stay in float32."""


def adamw(
    model: nn.Module, groups: list[dict[str, Any]], learning_rate: float, betas: tuple[float, float], epsilon: float
) -> torch.optim.Optimizer:
    """The optimizer of these groups of the model's parameters. Moments of embeddings stay in 32 bits, as its authors
    found to be needed: the gradients of rare tokens are of all sizes."""
    from bitsandbytes.optim import AdamW8bit, GlobalOptimManager

    optimizer: torch.optim.Optimizer = AdamW8bit(
        groups, lr=learning_rate, betas=betas, eps=epsilon, min_8bit_size=SMALLEST
    )
    manager = GlobalOptimManager.get_instance()
    manager.initialize()  # it is one for the whole process, and remembers
    for embedding in _embeddings(model):
        manager.register_module_override(embedding, "weight", {"optim_bits": 32})
    return optimizer


def memory(model: nn.Module) -> int:
    """Bytes of both moments of the trained parameters, with their scales, two of 4 bytes for a block of 256."""
    whole = {id(embedding.weight) for embedding in _embeddings(model)}
    total = 0
    for parameter in model.parameters():
        if parameter.requires_grad:
            small = parameter.numel() < SMALLEST or id(parameter) in whole
            total += parameter.numel() * 8 if small else parameter.numel() * 2 + parameter.numel() // 32
    return total


def _embeddings(model: nn.Module) -> list[nn.Embedding]:
    return [module for module in model.modules() if isinstance(module, nn.Embedding)]
