"""Which layers are computed again in the backward pass instead of being kept: all, none, so many, or as few as fit."""

from typing import Any

import numpy as np
import torch

from sciriff.config import TrainConfig
from sciriff.finetune.backends import Backend
from sciriff.finetune.model import SummedLoss
from sciriff.finetune.packing import Batch, joined
from sciriff.finetune.workers import Workers
from sciriff.run.user_error import UserError

SHARE_OF_MEMORY = 0.92
"""Of a GPU's memory that `auto` fills by its reckoning; the rest is for what falls between the allocator's blocks."""


def enable(language_model: Any, train: TrainConfig, on_gpu: bool) -> int:
    """Turn it on as `train.activation_checkpointing` says; `auto` begins with all layers. Returns how many layers.

    UserError where the model has fewer layers than asked for.
    """
    wanted = train.activation_checkpointing
    if wanted in ("none", 0) or (wanted == "auto" and not on_gpu):
        return 0
    # The second name is older, and goes away in transformers 6.
    new = getattr(language_model, "activation_checkpointing_enable", None)
    (new or language_model.gradient_checkpointing_enable)({"use_reentrant": False})
    layers = _layers(language_model)
    if wanted == "all":
        return len(layers)
    count = len(layers) if wanted == "auto" else int(wanted)
    if count > len(layers):
        raise UserError(
            f"train.activation_checkpointing={count}, but the model has {len(layers)} layers that can be checkpointed"
        )
    return set_count(language_model, count)


def set_count(language_model: Any, count: int) -> int:
    """Compute the first `count` layers again and keep the others.

    The first, because the backward pass begins at the end: what the last layers keep is gone before a first one is
    computed again.
    """
    for number, layer in enumerate(_layers(language_model)):
        layer.gradient_checkpointing = number < count
    return count


def fewest_that_fit(
    model: SummedLoss, backend: Backend, tokens: int, longest: int, vocabulary: int, workers: Workers
) -> int:
    """As few layers as fit into the GPUs' memory with micro-batches of so many tokens, of which the longest row has
    `longest`; the same number on every process, and set so. GPUs only.

    Passes over the largest micro-batch there can be, with one layer kept and with two, say what a layer costs; their
    gradients are scaled by 0, so that nothing is learnt. AdamW's moments, which are made in the first step, are added
    to what was seen. UserError where not even these passes fit.
    """
    layers = len(_layers(model.language_model))
    if layers < 2:
        return layers
    batch = largest_batch(tokens, longest, vocabulary)

    def peak(kept: int) -> int:
        set_count(model.language_model, layers - kept)
        torch.cuda.reset_peak_memory_stats(workers.device)
        try:
            backend.accumulate(batch, 0.0, last=False)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"train.activation_checkpointing=auto: {kept} of {layers} layers kept in the GPU's memory are too many "
                f"to try; set train.activation_checkpointing=all ({str(error).splitlines()[0]})"
            ) from None
        return torch.cuda.max_memory_allocated(workers.device)

    peak(1)  # what is allocated only once must not look like a layer's
    with_one, with_two = peak(1), peak(2)
    capacity = SHARE_OF_MEMORY * torch.cuda.get_device_properties(workers.device).total_memory
    count = checkpointed(layers, with_one, with_two, capacity - backend.memory_to_come())
    torch.cuda.reset_peak_memory_stats(workers.device)
    return set_count(model.language_model, max(workers.gather([count])))


def checkpointed(layers: int, with_one: float, with_two: float, capacity: float) -> int:
    """How many of `layers` must be computed again, from the peak (bytes) with one layer kept and with two."""
    if with_two > capacity:
        return layers - 1 if with_one <= capacity else layers
    more = (capacity - with_two) // max(with_two - with_one, 1)
    return max(0, layers - 2 - int(more))


def largest_batch(tokens: int, longest: int, vocabulary: int) -> Batch:
    """A micro-batch of so many tokens in sequences as long as the longest, every token a target."""
    whole, rest = divmod(tokens, longest)
    lengths = [longest] * whole + [rest] * (rest > 0)
    return joined([(np.arange(length) % vocabulary, np.ones(length, np.bool_)) for length in lengths])


def _layers(language_model: Any) -> list[Any]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in language_model.modules() if isinstance(module, GradientCheckpointingLayer)]
