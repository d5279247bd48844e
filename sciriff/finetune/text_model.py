"""Which parts of a model text goes through. A checkpoint that sees or hears too has towers that text never reaches.

Weights that the loss of a text does not depend on are frozen before DDP or DeepSpeed wrap the model: DDP stops at its
second step if a trained weight gets no gradient, and under ZeRO weight decay would shrink it.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sciriff.finetune.packing import concatenate
from sciriff.finetune.workers import Workers
from sciriff.models.towers import prefixes, towers
from sciriff.run.user_error import UserError

TOKENS = 24
"""Tokens of each of the two rows of the rehearsal."""


def named_modules(language_model: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that text goes through, by their names in the whole model."""
    inside = prefixes(language_model)
    return ((name, module) for name, module in language_model.named_modules() if f"{name}.".startswith(inside))


def named_parameters(language_model: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters that text goes through, by their names in the whole model."""
    inside = prefixes(language_model)
    return ((name, weight) for name, weight in language_model.named_parameters() if name.startswith(inside))


def freeze_towers(language_model: Any, dtype: torch.dtype) -> str | None:
    """Freeze what text does not go through, kept in `dtype` if that is smaller. Returns a line about it, or None."""
    inside = prefixes(language_model)
    frozen = [(name, p) for name, p in language_model.named_parameters() if not name.startswith(inside)]
    if not frozen:
        return None
    for _, parameter in frozen:
        parameter.requires_grad_(False)
        if not hasattr(parameter, "ds_numel") and parameter.element_size() > dtype.itemsize:
            parameter.data = parameter.data.to(dtype)
    names = ", ".join(towers(language_model))
    return f"{names} ({_count(frozen)} weights) get no input from text: frozen and kept as they are"


@dataclass(frozen=True)
class Rehearsal:
    """What one forward pass over a made-up text has shown."""

    frozen: list[tuple[str, nn.Parameter]]
    """Weights that were to be trained and that the loss does not depend on; they are frozen now."""
    by_chance: list[str]
    """Names of weights that some texts use and others do not: experts that are modules of their own."""

    def line(self) -> str | None:
        if not self.frozen:
            return None
        names = [name.removeprefix("language_model.") for name, _ in self.frozen]
        kinds = list(dict.fromkeys(re.sub(r"\.\d+\.", ".*.", name) for name in names))
        shown = ", ".join(kinds[:4]) + (f" and {len(kinds) - 4} other kinds" if len(kinds) > 4 else "")
        return f"{shown} ({_count(self.frozen)} weights) do not enter the loss of a text: frozen and kept as they are"


def rehearse(model: Any, vocabulary: int, workers: Workers, in_shares: bool) -> Rehearsal:
    """Freeze the weights that were to be trained and that the loss of a text does not depend on. Every rank calls it.

    `model` is the SummedLoss before DDP or DeepSpeed wrap it; it is left on this rank's device, and nothing in it but
    `requires_grad` changes. One forward pass over two short rows builds autograd's graph, which is walked as DDP does;
    no tensor is kept for a backward pass. `in_shares`: ZeRO-3 has partitioned the weights; they are gathered by layer.
    """
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    _move(model, workers.device, in_shares)
    rows = [((np.arange(1, TOKENS + 1) * step) % vocabulary, np.ones(TOKENS, np.bool_)) for step in (5, 11)]
    batch = concatenate(rows)
    model.expect(batch)
    kept_nothing = torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, lambda nothing: nothing)
    gathered = _gathered_by_layer(model) if in_shares else contextlib.nullcontext()
    with torch.random.fork_rng(), gathered, kept_nothing, workers.accelerator.autocast():
        reached = _leaves(model(*batch.to(workers.device)))
    if not any(weight in reached for _, weight in trained):
        raise UserError(f"the loss of {type(model).__name__} depends on no weight that is to be trained")
    # Rounding may send a token to another expert on another rank, and all must freeze the same weights.
    everywhere = Counter(workers.gather([name for name, weight in trained if weight not in reached]))
    missed = [(name, weight) for name, weight in trained if everywhere[name] == workers.count]
    by_chance = [name for name, _ in trained if 0 < everywhere[name] < workers.count]
    # An expert without a token in this text may get one in the next: its layer's other experts tell.
    families = {_experts_alike(name) for name, _ in trained if everywhere[name] < workers.count}
    frozen = [(name, weight) for name, weight in missed if _experts_alike(name) not in families]
    for _, weight in frozen:
        weight.requires_grad_(False)
    by_chance += [name for name, _ in missed if _experts_alike(name) in families]
    return Rehearsal(frozen, by_chance)


def _leaves(loss: torch.Tensor) -> set[torch.Tensor]:
    """Return the tensors that backward would give gradients. A tensor is itself in a set: equal means identical."""
    waiting, seen, found = [loss.grad_fn], set(), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            found.add(leaf)
        waiting += [function for function, _ in node.next_functions]
    return found


def _experts_alike(name: str) -> str:
    """Return the name with the numbers of all modules but the first, the layer's, made equal."""
    parts = name.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
    return ".".join("*" if place in numbers[1:] else part for place, part in enumerate(parts))


def _move(model: nn.Module, device: torch.device, in_shares: bool) -> None:
    """Move the model to its device as DDP's or DeepSpeed's wrapping would; under ZeRO-3 what it has not partitioned:
    buffers, and the weights of a model that was built on the spot."""
    if in_shares:
        for tensor in (*model.buffers(), *(weight for weight in model.parameters() if not hasattr(weight, "ds_id"))):
            tensor.data = tensor.data.to(device)
    elif any(parameter.device.type != device.type for parameter in model.parameters()):
        model.to(device)


@contextlib.contextmanager
def _gathered_by_layer(model: nn.Module) -> Iterator[None]:
    """Make partitioned weights whole: those of each layer while it computes, those outside of layers all the time."""
    from deepspeed.runtime.zero import GatheredParameters

    layers = outermost_layers(model)
    in_layers = {weight for layer in layers for weight in layer.parameters()}
    language_model: Any = model.language_model
    others = [weight for _, weight in named_parameters(language_model) if weight not in in_layers]
    held: list[Any] = []

    def whole(weights: Iterable[Any]) -> Any:
        return GatheredParameters([weight for weight in weights if hasattr(weight, "ds_id")])

    def gather(layer: nn.Module, inputs: Any) -> None:
        held.append(whole(layer.parameters()))
        held[-1].__enter__()

    def release(layer: nn.Module, inputs: Any, outputs: Any) -> None:
        held.pop().__exit__(None, None, None)

    hooks = [layer.register_forward_pre_hook(gather) for layer in layers]
    hooks += [layer.register_forward_hook(release) for layer in layers]
    try:
        with whole(others):
            yield
    finally:
        while held:
            release(model, None, None)
        for hook in hooks:
            hook.remove()


def outermost_layers(model: nn.Module) -> list[nn.Module]:
    """Return the language model's layers, in order, without those inside of others."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    found: dict[str, nn.Module] = {}
    for name, module in named_modules(getattr(model, "language_model", model)):
        if isinstance(module, GradientCheckpointingLayer) and not name.startswith(tuple(f"{one}." for one in found)):
            found[name] = module
    return list(found.values())


def _count(named: list[tuple[str, nn.Parameter]]) -> str:
    return f"{sum(int(getattr(weight, 'ds_numel', weight.numel())) for _, weight in named):,}"
