"""Attention that keeps packed sequences apart: FlashAttention's variable-length kernels, or SDPA sequence by sequence.

Both use documented interfaces of transformers: FlashAttentionKwargs (`cu_seq_lens_q` etc.), and AttentionInterface, for
whose functions it builds no mask. `eager` needs neither: a block mask is built from position ids that restart.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch

from sciriff.config import TrainConfig
from sciriff.models import attention_kernels
from sciriff.run.user_error import UserError

PACKED_SDPA = "packed_sdpa"
"""Registered name of `packed_sdpa`; with "sdpa" in it, transformers refuses families without SDPA."""

PACKED_EAGER = "packed_eager"
"""Registered name of `packed_eager`, which families without SDPA take too."""

BY_SEQUENCE = (PACKED_SDPA, PACKED_EAGER)
"""Our own functions, which must be told the sequences' lengths."""

EAGER_ARGUMENTS = ("s_aux", "softcap")
"""Arguments of a family's attention that SDPA lacks and its own eager attention knows: sinks, capped scores."""

HARMLESS_ARGUMENTS = (
    "dropout", "scaling", "is_causal", "position_ids", "output_attentions", "output_router_logits", "use_cache",
    "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx",
)  # fmt: skip
"""Arguments that SDPA takes, or that concern other implementations. All others that are not null are refused: a family
that needs one (position_bias, indices ...) would be computed wrongly."""


REFUSAL = "SDPA cannot restrict to packed sequences"


class UnsupportedAttention(UserError):
    """A family needs attention that cannot be computed sequence by sequence."""


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
    """Register `packed_sdpa` and `packed_eager` with transformers; call this before the model is loaded."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED_SDPA, packed_sdpa)
    AttentionInterface.register(PACKED_EAGER, packed_eager)


def arguments(name: str, lengths: tuple[int, ...], device: torch.device, boundaries: bool = False) -> dict[str, Any]:
    """Return the arguments that the model's forward needs besides tokens and positions, for rows of these lengths.

    With `boundaries` also those from which the packed kernels of recurrent and convolutional layers know where a row
    begins (transformers' TransformersKwargs): cu_seq_lens_q for flash-linear-attention, seq_idx for causal-conv1d and
    mamba-ssm.
    """
    needed: dict[str, Any] = {"sequence_lengths": lengths} if name in BY_SEQUENCE else {}
    if boundaries or name in attention_kernels.KERNELS:
        bounds = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).to(device, non_blocking=True)
        longest = max(lengths)
        needed |= {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}
    if boundaries:
        rows = torch.arange(len(lengths), dtype=torch.int32).repeat_interleave(torch.tensor(lengths))
        needed["seq_idx"] = rows[None].to(device, non_blocking=True)
    return needed


def packed_sdpa(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **arguments: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence of `query`, `key` and `value` (1, heads, tokens, width).

    Runs sequence by sequence, because a block mask costs the square of all tokens in time and memory, and rules out
    torch's flash kernels. Returns (1, tokens, heads, width). UnsupportedAttention if the family needs something else.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if any(arguments.get(name) is not None for name in EAGER_ARGUMENTS):
        return packed_eager(module, query, key, value, attention_mask, **arguments)

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        given = {**arguments, "is_causal": True}
        return sdpa_attention_forward(module, q, k, v, mask, **given)[0]

    return _by_sequence(attend, module, query, key, value, attention_mask, arguments), None


def packed_eager(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **arguments: Any,
) -> tuple[torch.Tensor, None]:
    """Compute `packed_sdpa` with the family's own eager attention, for sinks and capped scores, which SDPA lacks.

    Its memory is the square of the longest sequence, not of all tokens as with transformers' mask for packed rows.
    """
    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if own is None:
        what = ", ".join(name for name in EAGER_ARGUMENTS if arguments.get(name) is not None) or "attention of its own"
        raise UnsupportedAttention(f"{type(module).__name__} has {what}, which {REFUSAL}")

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if mask is None:
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
        hidden = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill(~mask, torch.finfo(q.dtype).min)
        return own(module, q, k, v, hidden[None, None], **arguments)[0]

    return _by_sequence(attend, module, query, key, value, attention_mask, arguments), None


Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Attention of one sequence: query, key, value (1, heads, tokens, width) and a mask, None for a plainly causal one."""


def _by_sequence(
    attend: Attend,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    arguments: dict[str, Any],
) -> torch.Tensor:
    """Return `attend` of each sequence (of each chunk of it, in the chunked layers of Llama 4), concatenated."""
    lengths = arguments.pop("sequence_lengths", None)
    window = arguments.pop("sliding_window", None)
    unknown = sorted(
        name
        for name, given in arguments.items()
        if given is not None and name not in EAGER_ARGUMENTS and name not in HARMLESS_ARGUMENTS
    )
    causal = getattr(module, "is_causal", True) and arguments.pop("is_causal", None) is not False
    if lengths is None or attention_mask is not None or not causal or unknown or query.shape[2] != key.shape[2]:
        what = f"{type(module).__name__} has {', '.join(unknown) or 'attention that is not plainly causal'}"
        raise UnsupportedAttention(f"{what}, which {REFUSAL}")
    if (chunk := chunk_size(module)) is not None:
        lengths = [min(chunk, length - start) for length in lengths for start in range(0, length, chunk)]
    outputs = []
    for q, k, v in zip(*(states.split(list(lengths), dim=2) for states in (query, key, value)), strict=True):
        mask = None
        if window is not None and q.shape[2] > window:
            positions = torch.arange(q.shape[2], device=q.device)
            distance = positions[:, None] - positions[None, :]
            mask = (distance >= 0) & (distance < window)
        outputs.append(attend(q, k, v, mask))
    return torch.cat(outputs, dim=1)


def chunk_size(module: torch.nn.Module) -> int | None:
    """Return the tokens that a layer of chunked attention sees (Llama 4), which transformers tells by a mask alone."""
    config: Any = getattr(module, "config", None)
    kinds, layer = getattr(config, "layer_types", None) or (), getattr(module, "layer_idx", None)
    chunked = layer is not None and layer < len(kinds) and kinds[layer] == "chunked_attention"
    return int(config.attention_chunk_size) if chunked else None
