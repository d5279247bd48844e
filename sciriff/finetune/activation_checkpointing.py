"""Choose which layers recompute their activations in the backward pass: all, none, a number, or as few as fit."""

from typing import Any

import numpy as np
import torch

from sciriff.config import TrainConfig
from sciriff.finetune import text_model
from sciriff.finetune.backends import Backend
from sciriff.finetune.model import SummedLoss
from sciriff.finetune.packing import Batch, concatenate
from sciriff.finetune.workers import Workers
from sciriff.run.user_error import UserError

SHARE_OF_MEMORY = 0.92
"""Share of a GPU's memory that `auto` plans to fill; the rest allows for fragmentation."""


def enable(language_model: Any, train: TrainConfig, on_gpu: bool) -> int:
    """Turn checkpointing on, `auto` for all layers at first. Returns their number. UserError if there are fewer."""
    wanted = train.activation_checkpointing
    if wanted in ("none", 0) or (wanted == "auto" and not on_gpu):
        return 0
    # transformers 6 removes the older second name.
    new = getattr(language_model, "activation_checkpointing_enable", None)
    (new or language_model.gradient_checkpointing_enable)({"use_reentrant": False})
    layers = _layers(language_model)
    if wanted == "all":
        return len(layers)
    count = len(layers) if wanted == "auto" else int(wanted)
    if count > len(layers):
        problem = f"train.activation_checkpointing={count}, but the model has {len(layers)} layers"
        raise UserError(f"{problem}; use at most that number, or all")
    return set_count(language_model, count)


def set_count(language_model: Any, count: int) -> int:
    """Checkpoint only the first `count` layers: the last ones' activations are freed before a first is recomputed."""
    for number, layer in enumerate(_layers(language_model)):
        layer.gradient_checkpointing = number < count
    return count


def fewest_that_fit(
    model: SummedLoss, backend: Backend, tokens: int, longest: int, vocabulary: int, workers: Workers
) -> int:
    """Set and return the smallest number of checkpointed layers that fits the GPUs' memory, the same on every rank.

    Passes over the largest micro-batch (`tokens` tokens, rows of up to `longest`), with one layer kept and with two,
    measure what a layer costs; their gradients are scaled by 0, so that nothing is learnt. AdamW's moments, which the
    first step allocates, are added. UserError if even these passes do not fit.
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
            problem = f"train.activation_checkpointing=auto: keeping {kept} of {layers} layers ran out of GPU memory"
            reason = str(error).splitlines()[0]
            raise UserError(f"{problem}; set train.activation_checkpointing=all ({reason})") from None
        return torch.cuda.max_memory_allocated(workers.device)

    peak(1)  # one-time allocations must not count as a layer's
    with_one, with_two = peak(1), peak(2)
    capacity = SHARE_OF_MEMORY * torch.cuda.get_device_properties(workers.device).total_memory
    count = checkpointed(layers, with_one, with_two, capacity - backend.memory_to_come())
    torch.cuda.reset_peak_memory_stats(workers.device)
    return set_count(model.language_model, max(workers.gather([count])))


def checkpointed(layers: int, with_one: float, with_two: float, capacity: float) -> int:
    """Return how many of `layers` must be recomputed, from the peak in bytes with one layer kept and with two."""
    if with_two > capacity:
        return layers - 1 if with_one <= capacity else layers
    further = (capacity - with_two) // max(with_two - with_one, 1)
    return max(0, layers - 2 - int(further))


def largest_batch(tokens: int, longest: int, vocabulary: int) -> Batch:
    """Return a micro-batch of `tokens` tokens in sequences of `longest`, every token a target."""
    whole, rest = divmod(tokens, longest)
    lengths = [longest] * whole + [rest] * (rest > 0)
    return concatenate([(np.arange(length) % vocabulary, np.ones(length, np.bool_)) for length in lengths])


def _layers(language_model: Any) -> list[Any]:
    """Return the layers that text goes through; those of frozen towers never run."""
    return text_model.outermost_layers(language_model)
