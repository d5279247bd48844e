"""Attention that keeps packed sequences apart: FlashAttention's variable-length kernels, or SDPA sequence by sequence.

Both use documented interfaces of transformers: FlashAttentionKwargs (`cu_seq_lens_q` etc.), and AttentionInterface, for
whose functions it builds no mask. `eager` needs neither: a block mask is built from position ids that restart.
"""

from collections.abc import Sequence
from typing import Any

import torch

from sciriff.config import TrainConfig
from sciriff.models import attention_kernels
from sciriff.run.user_error import UserError

PACKED_SDPA = "packed_sdpa"
"""Registered name of `packed_sdpa`; with "sdpa" in it, transformers refuses families without SDPA."""


def implementation(train: TrainConfig, device: torch.device) -> str:
    """Return transformers' name for what `train.attention` selects on this device. UserError if it cannot work."""
    usable = flash_attention(train, device)
    if train.attention == "auto":
        return usable[0] if usable else PACKED_SDPA
    if train.attention == "sdpa":
        return PACKED_SDPA
    if train.attention in ("eager", *usable):
        return train.attention
    on_gpu = device.type == "cuda"
    capability = torch.cuda.get_device_capability(device) if on_gpu else None
    kernels = attention_kernels.here()
    if reason := attention_kernels.refusal(train.attention, kernels, on_gpu, capability, train.precision):
        raise UserError(reason)
    if train.attention in attention_kernels.FROM_HUB:
        return train.attention
    raise UserError(f"transformers cannot load train.attention={train.attention} here; use train.attention=auto")


def flash_attention(train: TrainConfig, device: torch.device) -> list[str]:
    """Return the FlashAttentions that are installed and work on this device in this precision, best first. None of the
    hub's: their code runs only where they are asked for by name."""
    if device.type != "cuda":
        return []
    from transformers import utils

    kernels, capability = attention_kernels.here(), torch.cuda.get_device_capability(device)
    return [
        name
        for name in attention_kernels.FLASH
        if attention_kernels.problem(name, kernels, capability, train.precision) is None
        and getattr(utils, f"is_flash_attn_{name[-1]}_available", bool)()
    ]


def register() -> None:
    """Register `packed_sdpa` with transformers; call this before the model is loaded."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED_SDPA, packed_sdpa)


def arguments(name: str, lengths: tuple[int, ...], device: torch.device) -> dict[str, Any]:
    """Return the arguments that the model's forward needs besides tokens and positions."""
    if name == PACKED_SDPA:
        return {"sequence_lengths": lengths}
    if name in attention_kernels.KERNELS:
        bounds = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).to(device, non_blocking=True)
        longest = max(lengths)
        return {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}
    return {}


def packed_sdpa(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    sequence_lengths: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **arguments: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence of `query`, `key` and `value` (1, heads, tokens, width).

    Runs sequence by sequence, because a block mask costs the square of all tokens in time and memory, and rules out
    torch's flash kernels. Returns (1, tokens, heads, width). UserError if the model family needs something else.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    unsupported = [name for name in ("s_aux", "softcap", "position_bias") if arguments.get(name) is not None]
    if sequence_lengths is None or attention_mask is not None or not getattr(module, "is_causal", True) or unsupported:
        what = f"{type(module).__name__} has {', '.join(unsupported) or 'attention that is not plainly causal'}"
        raise UserError(f"{what}, which SDPA cannot restrict to packed sequences; try train.attention=eager")
    outputs = []
    for q, k, v in zip(*(states.split(list(sequence_lengths), dim=2) for states in (query, key, value)), strict=True):
        mask = None
        if sliding_window is not None and q.shape[2] > sliding_window:
            positions = torch.arange(q.shape[2], device=q.device)
            distance = positions[:, None] - positions[None, :]
            mask = (distance >= 0) & (distance < sliding_window)
        outputs.append(sdpa_attention_forward(module, q, k, v, mask, **{**arguments, "is_causal": True})[0])
    return torch.cat(outputs, dim=1), None
