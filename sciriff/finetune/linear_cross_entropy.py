"""The output layer and the loss in one, so that the logits of all tokens never exist at once."""

import importlib.util
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sciriff.config import LOGITS_AT_ONCE, TrainConfig
from sciriff.run.user_error import UserError


def choose(train: TrainConfig, device: torch.device) -> str:
    """liger or chunked: what `train.cross_entropy` stands for on this device. UserError where it cannot work."""
    usable = device.type == "cuda" and importlib.util.find_spec("liger_kernel") is not None
    if train.cross_entropy == "liger" and not usable:
        raise UserError("train.cross_entropy=liger needs a GPU and the package liger-kernel; auto takes what works")
    if train.cross_entropy == "auto":
        return "liger" if usable else "chunked"
    return train.cross_entropy


def attach(head: nn.Linear, config: Any, kind: str) -> None:
    """Let `head(hidden, expected)` return the summed loss; `head(hidden)` still returns logits.

    The loss is computed inside the layer's own call because that is where ZeRO-3 has its weight in place. `config` is
    transformers' (of the text model): three families' ways to scale or cap logits are known by its fields.
    """
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    loss = partial(
        liger if kind == "liger" else chunked, scale=scale, cap=getattr(config, "final_logit_softcapping", None)
    )
    logits = head.forward

    def forward(hidden: torch.Tensor, expected: torch.Tensor | None = None) -> torch.Tensor:
        if expected is None:
            return logits(hidden)
        return loss(hidden, head.weight, head.bias, expected)

    head.forward = forward  # type: ignore[method-assign, assignment]


def chunked(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    expected: torch.Tensor,
    *,
    scale: float = 1.0,
    cap: float | None = None,
) -> torch.Tensor:
    """Sum of the cross entropy (nats, float32) of `hidden` (tokens, width) against the token ids `expected` (tokens,).

    Some tokens at a time; their logits are computed again in the backward pass, except where they are all.
    """

    def piece(some: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        logits = functional.linear(some, weight, bias).float() * scale
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return functional.cross_entropy(logits, wanted, reduction="sum")

    rows = max(1, LOGITS_AT_ONCE // weight.shape[0])
    if len(hidden) <= rows:
        return piece(hidden, expected)
    pieces = zip(hidden.split(rows), expected.split(rows), strict=True)
    return torch.stack([checkpoint(piece, *pair, use_reentrant=False) for pair in pieces]).sum()


def liger(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    expected: torch.Tensor,
    *,
    scale: float = 1.0,
    cap: float | None = None,
) -> torch.Tensor:
    """The same by Liger's Triton kernel (Hsu et al. 2024, arXiv 2410.10989), with gradients summed up in float32."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    if not len(hidden):  # its kernels cannot be started on nothing
        return chunked(hidden, weight, bias, expected, scale=scale, cap=cap)
    loss = LigerFusedLinearCrossEntropyLoss(reduction="sum", softcap=cap, accum_dtype=torch.float32)
    # Under autocast the weight, and after some norms the hidden states, are still in float32.
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else hidden.dtype
    return loss(weight.to(dtype), (hidden * scale).to(dtype), expected, None if bias is None else bias.to(dtype))
