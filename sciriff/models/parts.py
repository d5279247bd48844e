"""Which parts a language model has: its decoder, layers, those that attend, experts and routers. For any family."""

import re
from typing import Any

from torch import nn

EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""Names that families give the number of experts of a layer."""
PER_TOKEN = (
    *("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts"),
    *("moe_topk", "moe_top_k", "moe_k"),
)
"""Names of the number of experts that a token goes to."""
ROUTER_CLASS = re.compile(r"Rout(er|ing)|Gating|Gate$")
"""In names of classes that choose experts, such as Qwen3MoeTopKRouter, HunYuanMoEV1Gate or MoEGate; not in
GatedDeltaNet."""
ROUTER_NAME = re.compile(r"(\w+_)?(gate|router)")
"""Names of a module that is a router, if it lies beside experts: gate, router, shared_expert_gate."""
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
NO_ATTENTION = re.compile(r"Linear|Lightning|Delta|Mamba|Norm|Mask")
"""In class names with `Attention`: layers that mix tokens without keeping keys and values of each."""


def decoder_of(language_model: Any) -> Any:
    """Return the language model without its head and without towers."""
    decoder = language_model.get_decoder() if hasattr(language_model, "get_decoder") else None
    return decoder if decoder is not None and decoder is not language_model else language_model.base_model


def layers_of(language_model: Any) -> list[nn.Module]:
    """Return the layers of the decoder: of its lists of modules, with as many as the config says, that with the most
    weights. ValueError without any."""
    lists = [one for one in decoder_of(language_model).modules() if isinstance(one, nn.ModuleList) and len(one)]
    wanted = number(language_model.config.get_text_config(), *LAYERS)
    as_many = [one for one in lists if len(one) == wanted] or lists
    if not as_many:
        raise ValueError("it has no layers")

    def weights(modules: nn.ModuleList) -> int:
        return sum(weight.numel() for weight in modules.parameters())

    most: nn.ModuleList = max(as_many, key=weights)
    return list(most)


def attends(layer: nn.Module) -> bool:
    """Whether a layer keeps keys and values of every token; layers of state-space models and convolutions do not."""
    kinds = [type(module).__name__ for module in layer.modules() if module is not layer]
    return any("Attention" in kind and not NO_ATTENTION.search(kind) for kind in kinds)


def expert_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Return by name the modules that hold the weights of experts that a router chooses among; every token goes through
    shared ones."""
    return {
        name: part
        for name, part in module.named_modules()
        for kind in [type(part).__name__]
        if (name.rpartition(".")[2] == "experts" or "Expert" in kind) and "shared" not in f"{name}.{kind}".lower()
    }


def router_modules(module: nn.Module, text_config: Any) -> dict[str, nn.Module]:
    """Return routers by name: modules with a router's class, and those beside experts that have a router's name or are
    linear with as many outputs as there are experts, or one (the gate of a shared expert)."""
    modules = dict(module.named_modules())
    found = {name: part for name, part in modules.items() if ROUTER_CLASS.search(type(part).__name__)}
    counts = {1} | {number(text_config, key) for key in EXPERT_COUNTS}
    for experts in expert_modules(module):
        block = experts.rpartition(".")[0]
        for child, part in modules[block].named_children() if block in modules else ():
            if ROUTER_NAME.fullmatch(child) or (isinstance(part, nn.Linear) and part.out_features in counts):
                found[f"{block}.{child}" if block else child] = part
    return found


def experts_of_a_token(text_config: Any) -> tuple[int, int] | None:
    """Return how many experts a layer has and how many of them a token goes to; None where the config does not say."""
    parts = [text_config, getattr(text_config, "ffn_config", None)]
    count, chosen = (
        next(filter(None, (number(part, *names) for part in parts)), None) for names in (EXPERT_COUNTS, PER_TOKEN)
    )
    return (count, chosen) if count and chosen else None


def share_of_experts(text_config: Any) -> float:
    """Return the share of a layer's experts that one token goes through; 1 where the config does not say."""
    numbers = experts_of_a_token(text_config)
    return min(1.0, numbers[1] / numbers[0]) if numbers else 1.0


def number(config: Any, *names: str) -> int | None:
    """Return the first of these that a config has and that is above 0; where its layers differ, the largest."""
    for name in names:
        numbers = [one for one in values_of_layers(config, name) if type(one) is int]
        if numbers and max(numbers) > 0:
            return max(numbers)
    return None


def values_of_layers(config: Any, name: str) -> list[Any]:
    """Return the values that a key has in a config: one for all layers, or one for each, as Gemma 4's head_dim."""
    try:
        value = getattr(config, name, None)
    except RuntimeError:  # transformers' AmbiguousGlobalPerLayerAttributeError, which older ones do not have
        return [getattr(config.per_layer_config[layer], name) for layer in range(config.num_hidden_layers)]
    return list(value) if isinstance(value, list | tuple) else [value]
