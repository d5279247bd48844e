"""AdamW with moments in 8 bits instead of 32 (Dettmers et al. 2021, arXiv 2110.02861), by bitsandbytes."""

from typing import Any

import torch
from torch import nn

MIN_8BIT_SIZE = 4096
"""Elements of the smallest parameter whose moments are kept in 8 bits; those of smaller ones stay in float32."""


def adamw(
    model: nn.Module, groups: list[dict[str, Any]], learning_rate: float, betas: tuple[float, float], epsilon: float
) -> torch.optim.Optimizer:
    """Return the optimizer of these parameter groups of `model`. The moments of embeddings stay in 32 bits, as the
    authors recommend."""
    from bitsandbytes.optim import AdamW8bit, GlobalOptimManager

    optimizer: torch.optim.Optimizer = AdamW8bit(
        groups, lr=learning_rate, betas=betas, eps=epsilon, min_8bit_size=MIN_8BIT_SIZE
    )
    manager = GlobalOptimManager.get_instance()
    manager.initialize()  # a singleton, which remembers earlier models
    for embedding in _embeddings(model):
        manager.register_module_override(embedding, "weight", {"optim_bits": 32})
    return optimizer


def memory(model: nn.Module) -> int:
    """Return the bytes of both moments of the trained parameters, with two 4-byte scales for each block of 256."""
    in_32_bits = {id(embedding.weight) for embedding in _embeddings(model)}
    total = 0
    for parameter in model.parameters():
        if parameter.requires_grad:
            full = parameter.numel() < MIN_8BIT_SIZE or id(parameter) in in_32_bits
            total += parameter.numel() * 8 if full else parameter.numel() * 2 + parameter.numel() // 32
    return total


def _embeddings(model: nn.Module) -> list[nn.Embedding]:
    return [module for module in model.modules() if isinstance(module, nn.Embedding)]
