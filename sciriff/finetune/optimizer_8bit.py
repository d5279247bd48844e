"""AdamW with moments in 8 bits instead of 32 (Dettmers et al. 2021, arXiv 2110.02861), by bitsandbytes."""

from typing import Any

import torch
from torch import nn

MIN_8BIT_SIZE = 4096
"""Elements of the smallest parameter whose moments are kept in 8 bits; those of smaller ones stay in float32."""


def adamw(
    model: nn.Module, groups: list[dict[str, Any]], learning_rate: float, betas: tuple[float, float], epsilon: float
) -> torch.optim.Optimizer:
    """Return the optimizer. The moments of embeddings stay in 32 bits, as the authors recommend."""
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
    return sum(
        p.numel() * 8 if p.numel() < MIN_8BIT_SIZE or id(p) in in_32_bits else p.numel() * 2 + p.numel() // 32
        for p in model.parameters()
        if p.requires_grad
    )


def _embeddings(model: nn.Module) -> list[nn.Embedding]:
    return [module for module in model.modules() if isinstance(module, nn.Embedding)]
