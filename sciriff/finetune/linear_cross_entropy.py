"""Output layer and cross entropy in one, so that the logits of all tokens never exist at once."""

import importlib.util
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sciriff.config import LOGITS_AT_ONCE, TrainConfig
from sciriff.run.user_error import UserError


def choose(train: TrainConfig, device: torch.device) -> str:
    """Return liger or chunked, whichever `train.cross_entropy` selects on this device. UserError if it cannot work."""
    usable = device.type == "cuda" and importlib.util.find_spec("liger_kernel") is not None
    if train.cross_entropy == "liger" and not usable:
        advice = "use train.cross_entropy=auto, which takes what works"
        raise UserError(f"train.cross_entropy=liger needs a GPU and the package liger-kernel; {advice}")
    if train.cross_entropy == "auto":
        return "liger" if usable else "chunked"
    return train.cross_entropy


def attach(head: nn.Linear, config: Any, kind: str) -> None:
    """Make `head(hidden, expected)` return the summed loss; `head(hidden)` still returns logits.

    The loss is computed inside the layer's call because ZeRO-3 has gathered its weight there. `config` is the text
    model's transformers config, whose fields tell how three families scale or cap logits.
    """
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    cap = getattr(config, "final_logit_softcapping", None)
    loss = partial(liger if kind == "liger" else chunked, scale=scale, cap=cap)
    logits = head.forward

    def forward(hidden: Tensor, expected: Tensor | None = None) -> Tensor:
        return logits(hidden) if expected is None else loss(hidden, head.weight, head.bias, expected)

    head.forward = forward  # type: ignore[method-assign, assignment]


def chunked(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, expected: Tensor, scale: float = 1.0, cap: float | None = None
) -> Tensor:
    """Return the summed cross entropy (nats, float32) of `hidden` (tokens, width) for the token ids `expected`
    (tokens,). Works in chunks of tokens, whose logits are recomputed in the backward pass if there are several."""

    def chunk_loss(hidden: Tensor, expected: Tensor) -> Tensor:
        logits = functional.linear(hidden, weight, bias).float() * scale
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return functional.cross_entropy(logits, expected, reduction="sum")

    rows = max(1, LOGITS_AT_ONCE // weight.shape[0])
    if len(hidden) <= rows:
        return chunk_loss(hidden, expected)
    chunks = zip(hidden.split(rows), expected.split(rows), strict=True)
    return torch.stack([checkpoint(chunk_loss, *chunk, use_reentrant=False) for chunk in chunks]).sum()


def liger(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, expected: Tensor, scale: float = 1.0, cap: float | None = None
) -> Tensor:
    """Compute `chunked` with Liger's Triton kernel (Hsu et al. 2024, arXiv 2410.10989), gradients summed in float32."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    if not len(hidden):  # its kernels cannot be launched on zero tokens
        return chunked(hidden, weight, bias, expected, scale=scale, cap=cap)
    loss = LigerFusedLinearCrossEntropyLoss(reduction="sum", softcap=cap, accum_dtype=torch.float32)
    # Under autocast the weight is float32, and after some norms the hidden states are too.
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else hidden.dtype
    return loss(weight.to(dtype), (hidden * scale).to(dtype), expected, None if bias is None else bias.to(dtype))
