"""Choose the layers that get an adapter: which linear layers and expert tensors `train.lora_targets` means.

The output layer, routers, towers that get no text, and layers whose weight their family reads past the layer get none.
"""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, cast

from torch import nn

from sciriff.config import LORA_PATTERN, nearest
from sciriff.finetune import text_model
from sciriff.models.parts import expert_modules, router_modules
from sciriff.run.user_error import UserError

EXPERTS = "experts"
"""Value of `train.lora_targets` that means all tensors and layers of the experts."""


class Targets(NamedTuple):
    """What gets an adapter, by full names in the order of the model."""

    layers: list[str]
    """Linear layers."""
    parameters: list[str]
    """Tensors that hold a matrix of each expert, such as model.layers.0.mlp.experts.gate_up_proj."""


class Candidates(NamedTuple):
    """What could get an adapter."""

    layers: list[str]
    """Linear layers outside experts."""
    expert_layers: list[str]
    """Linear layers of experts that are modules of their own."""
    expert_parameters: list[str]
    """Three-dimensional tensors, a matrix for each expert."""
    refused: dict[str, str]
    """Other linear layers -> why they get none."""


def choose(language_model: Any, wanted: list[str] | None, excluded: list[str] | None) -> Targets:
    """Return what `train.lora_targets` and `train.lora_exclude` mean for this model. UserError if a value of theirs
    means nothing, means a layer that gets no adapter, or if nothing is left."""
    known = candidates(language_model)
    chosen = set(known.layers) if wanted is None else set()
    for target in wanted or ():
        chosen.update(_meant(target, known, "train.lora_targets"))
    for target in excluded or ():
        chosen.difference_update(_meant(target, known, "train.lora_exclude", but_not=chosen))
    if not chosen:
        raise UserError("train.lora_targets and train.lora_exclude leave no layer an adapter; null is every one")
    layers = [name for name in [*known.layers, *known.expert_layers] if name in chosen]
    return Targets(layers, [name for name in known.expert_parameters if name in chosen])


def candidates(language_model: Any) -> Candidates:
    """Sort the linear layers and expert tensors of a model by whether and how they can get an adapter."""
    from transformers.pytorch_utils import Conv1D

    head, inside = language_model.get_output_embeddings(), text_model.prefixes(language_model)
    experts, bypassed = expert_modules(language_model), _bypassed(language_model)
    routers = router_modules(language_model, language_model.config.get_text_config())
    found = Candidates([], [], [], dict.fromkeys(sorted(routers), "a router, which chooses experts"))
    for name, module in language_model.named_modules():
        if name in experts:
            found.expert_parameters.extend(
                f"{name}.{key}"
                for key, parameter in module.named_parameters(recurse=False)
                if _dimensions(parameter) == 3
            )
        if not isinstance(module, nn.Linear | Conv1D):
            continue
        if module is head:
            found.refused[name] = "the output layer"
        elif not f"{name}.".startswith(inside):
            found.refused[name] = "outside the part of the model that text goes through"
        elif _within(name, routers):
            found.refused[name] = "a router, which chooses experts"
        elif name in bypassed:
            found.refused[name] = "read past the layer by its family's kernel, so that an adapter would do nothing"
        else:
            (found.expert_layers if _within(name, experts) else found.layers).append(name)
    return found


def shortest(chosen: Collection[str], among: Iterable[str], parts: int = 1) -> list[str]:
    """Return the shortest ends of names, of at least so many parts, that mean the `chosen` ones and no other, sorted:
    [q_proj] instead of model.layers.0.self_attn.q_proj and so on."""
    every, wanted = (
        Counter(end for name in among for end in _ends(name)),
        Counter(end for n in chosen for end in _ends(n)),
    )
    ends = {
        next((end for end in _ends(name) if end.count(".") + 1 >= parts and wanted[end] == every[end]), name)
        for name in chosen
    }
    return sorted(ends)


def _ends(name: str) -> Iterator[str]:
    """Yield the ends of a dotted name, the shortest first."""
    parts = name.split(".")
    return (".".join(parts[-count:]) for count in range(1, len(parts) + 1))


def _meant(target: str, known: Candidates, key: str, but_not: Collection[str] | None = None) -> list[str]:
    """Return the names that one value of `key` means: all experts, a regular expression for whole names, or the end of
    names. A name means layers outside experts where there are any, else those of experts. `but_not` are layers of
    which an exclusion must mean at least one."""
    everything = [*known.layers, *known.expert_layers, *known.expert_parameters]
    if target == EXPERTS:
        found = [*known.expert_layers, *known.expert_parameters]
        if not found:
            raise UserError(f"{key}: {target} are asked for, and this model has none that peft can adapt")
        return found
    matches = _matcher(target)
    found = [name for name in everything if matches(name)]
    outside = [name for name in found if name in set(known.layers)]
    found = found if "." in target or not outside else outside
    if found and (but_not is None or not set(found).isdisjoint(but_not)):
        return found
    for name, reason in known.refused.items():
        if matches(name):
            raise UserError(f"{key}: {name} gets no adapter: it is {reason}; leave {target} out")
    names = {name.rpartition(".")[2] for name in everything}
    raise UserError(f"{key}: there is no linear layer {target} to adapt{nearest(target, names)}")


def _matcher(target: str) -> Callable[[str], bool]:
    """Return whether a full name is meant by an entry of a list of targets."""
    if LORA_PATTERN.search(target):
        return lambda name: re.fullmatch(target, name) is not None
    return lambda name: name == target or name.endswith(f".{target}")


def _within(name: str, modules: Collection[str]) -> bool:
    """Return whether a module is one of `modules` or inside one."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in modules for count in range(1, len(parts) + 1))


def _dimensions(parameter: nn.Parameter) -> int:
    return len(getattr(parameter, "ds_shape", parameter.shape))  # ZeRO-3 replaces a parameter's shape


def _bypassed(language_model: Any) -> set[str]:
    """Return the linear layers whose weight the code of the module around them reads itself, as the kernels of Mamba
    read that of out_proj: peft's layer around it would not be called."""
    return {
        f"{name}.{child}" if name else child
        for name, module in language_model.named_modules()
        for child in _weights_read(cast(Hashable, type(module)))
    }


@cache
def _weights_read(kind: Any) -> frozenset[str]:
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        return frozenset()
    return frozenset(re.findall(r"self\.(\w+)\.weight\b(?!\.(?:dtype|device|shape|numel|size|data_ptr))", source))
