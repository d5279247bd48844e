"""Measure a model that was built without weights: what a ShapeConfig says of any family that transformers knows."""

import json
import math
import re
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from sciriff.config import ShapeConfig
from sciriff.models.training_memory import largest_matrix, layer_parameters, linear_layers

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""Names that families give the number of experts of a layer."""
PER_TOKEN = (
    *("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts"),
    *("moe_topk", "moe_top_k", "moe_k"),
)
"""Names of the number of experts that a token goes to."""
INNER = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_ff")
LONGEST = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
ATTENTION = re.compile(r"Attention")
NO_ATTENTION = re.compile(r"Linear|Lightning|Delta|Mamba|Norm|Mask")
"""Class names of layers that mix tokens without keeping keys and values of each."""
ROUTER = re.compile(r"(^|\.)(router|gate|shared_expert_gate)(\.|$)")


class UnknownFamily(Exception):
    """transformers has no such model."""


def empty_model(values: dict[str, Any], source: str, revision: str | None, trust_remote_code: bool) -> Any:
    """Build the model of the values of a config.json on the meta device, where a tensor has a shape and no memory; code
    beside it runs under `trust_remote_code` alone. UnknownFamily, or whatever the family raises."""
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    family = values["model_type"]
    if trust_remote_code:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=True)
    elif family in CONFIG_MAPPING:
        with TemporaryDirectory() as folder:  # transformers spells some numbers in ways that only its reader knows
            known = {key: value for key, value in values.items() if key != "auto_map"}
            Path(folder, "config.json").write_text(json.dumps(known))
            config = CONFIG_MAPPING[family].from_pretrained(folder)
    else:
        raise UnknownFamily(family)
    for part in (config, config.get_text_config()):
        if hasattr(part, "quantization_config"):  # sizes are those of the weights before
            del part.quantization_config
    with torch.device("meta"), _without_initial_weights():
        for kind in (AutoModelForCausalLM, AutoModelForImageTextToText):
            try:
                model = kind.from_config(config, attn_implementation="eager", trust_remote_code=trust_remote_code)
            except ValueError as error:
                if "Unrecognized configuration class" not in str(error):
                    raise
                continue
            model.tie_weights()
            return model
    raise UnknownFamily(family)


def _without_initial_weights() -> AbstractContextManager[Any]:
    """transformers' own context, so that no family computes initial values, some with numbers that meta lacks."""
    try:
        from transformers.initialization import no_init_weights
    except ImportError:  # before 5
        try:
            from transformers.modeling_utils import no_init_weights
        except ImportError:
            return nullcontext()
    context: AbstractContextManager[Any] = no_init_weights()
    return context


def shape_of_model(model: Any, default_context: int) -> tuple[ShapeConfig, tuple[str, ...]]:
    """Return the shape of a model, and lines on what is worth knowing. A key that a Llama's formula has right is
    null."""
    text, notes = model.config.get_text_config(), []
    decoder = _decoder(model)
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    own = _weights(decoder, inputs, outputs)
    all_weights = _weights(model)
    layers = _layers(decoder, text)
    heads = _number(text, "num_attention_heads", "n_head", "num_heads") or 1
    kv_heads = _number(text, "num_key_value_heads", "num_kv_heads") or heads
    hidden = int(inputs.weight.shape[1]) if _number(text, "hidden_size") is None else _number(text, "hidden_size")
    assert hidden is not None
    context = _number(text, *LONGEST)
    if context is None:
        notes.append(
            f"its config.json has no longest sequence; {default_context:,} tokens are taken: model.shape.context"
        )
    active, experts_of_a_token = _active(decoder, text, own)
    shape = ShapeConfig(
        layers=len(layers),
        hidden=hidden,
        intermediate=_intermediate(decoder, layers, text, hidden, experts_of_a_token),
        heads=heads,
        kv_heads=kv_heads if heads % kv_heads == 0 else heads,
        vocabulary=int(inputs.weight.shape[0]),
        context=context or default_context,
        tied_embeddings=outputs is not None and outputs.weight is inputs.weight,
        head_width=_head_width(text, heads, hidden),
        total=sum(all_weights.values()),
    )
    return _only_what_differs(shape, model, decoder, layers, own, active), tuple(notes)


def _only_what_differs(
    shape: ShapeConfig, model: Any, decoder: nn.Module, layers: list[nn.Module], own: dict[int, int], active: int
) -> ShapeConfig:
    """The shape with the keys that a Llama's formula has wrong, and null for the others."""
    llama = replace(shape, total=None)
    assert shape.total is not None
    frozen, without_attention = shape.total - sum(own.values()), sum(not _attends(one) for one in layers)
    largest, layer = max(own.values()), max(sum(_weights(one).values()) for one in layers)
    linear = _linear_layers(decoder, model.get_output_embeddings())
    as_llama = {name: [n for size in sizes for n in size] for name, sizes in linear_layers(llama).items()}
    return replace(
        shape,
        total=None if shape.total == llama.parameters else shape.total,
        active=active if active < shape.total else None,
        frozen=frozen or None,
        without_attention=without_attention or None,
        layer=layer if layer > layer_parameters(llama) or shape.total != llama.parameters else None,
        largest=largest if largest != largest_matrix(llama) else None,
        linear={} if linear == as_llama else linear,
    )


def _decoder(model: Any) -> Any:
    """The language model without its head and without towers."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    return decoder if decoder is not None and decoder is not model else model.base_model


def _weights(*modules: Any) -> dict[int, int]:
    """Identity -> number of weights, of each parameter once."""
    found = chain.from_iterable(module.parameters() for module in modules if module is not None)
    return {id(parameter): parameter.numel() for parameter in found}


def _layers(decoder: nn.Module, text: Any) -> list[nn.Module]:
    """The layers of the language model: of its lists of modules that with the most weights."""
    lists = [module for module in decoder.modules() if isinstance(module, nn.ModuleList) and len(module)]
    wanted = _number(text, "num_hidden_layers", "n_layer", "num_layers")
    as_many = [one for one in lists if len(one) == wanted] or lists
    if not as_many:
        raise ValueError("it has no layers")
    return list(max(as_many, key=lambda one: sum(_weights(one).values())))


def _number(config: Any, *names: str) -> int | None:
    """The first of these that a config has; of a list, with a number for each layer, the largest."""
    for name in names:
        value = getattr(config, name, None)
        numbers = [one for one in (value if isinstance(value, list | tuple) else [value]) if type(one) is int]
        if numbers and max(numbers) > 0:
            return max(numbers)
    return None


def _head_width(text: Any, heads: int, hidden: int) -> int | None:
    """Width of a head's keys where it is not hidden / heads."""
    parts = [_number(text, name) for name in ("qk_nope_head_dim", "qk_rope_head_dim")]
    widths = [_number(text, name) for name in ("head_dim", "global_head_dim", "attention_head_dim", "kv_channels")]
    width = sum(part for part in parts if part) or max((width for width in widths if width), default=0)
    if not width:
        return None if hidden % heads == 0 else hidden // heads
    return width if width * heads != hidden else None


def _is_experts(name: str, module: nn.Module) -> bool:
    """Whether these are experts that a router chooses among; every token goes through shared ones."""
    kind = type(module).__name__
    return name.rpartition(".")[2] == "experts" or ("Experts" in kind and "Shared" not in kind)


def _active(decoder: nn.Module, text: Any, own: dict[int, int]) -> tuple[int, float]:
    """Weights of the language model that a token goes through, and those of experts among them. Tables that are looked
    up beside the embeddings, as in Gemma 3n, are not among them."""
    experts = sum(_weights(*(one for name, one in decoder.named_modules() if _is_experts(name, one))).values())
    settings = [text, *(part for part in (getattr(text, "ffn_config", None),) if part is not None)]
    count = next(filter(None, (_number(part, *EXPERTS) for part in settings)), None)
    chosen = next(filter(None, (_number(part, *PER_TOKEN) for part in settings)), None)
    share = min(1.0, chosen / count) if count and chosen else 1.0
    tables = [one for one in decoder.modules() if isinstance(one, nn.Embedding)]
    embedding = max((one.weight.numel() for one in tables), default=0)
    looked_up = sum(_weights(*tables).values()) - embedding if len(tables) > 1 else 0
    return round(sum(own.values()) - experts * (1 - share)) - looked_up, experts * share


def _intermediate(
    decoder: nn.Module, layers: list[nn.Module], text: Any, hidden: int, experts_of_a_token: float
) -> int:
    """Width of the MLP, or of all experts of a token: their weights are those of a gated MLP of this width."""
    dense = _number(text, *INNER) or 4 * hidden
    with_experts = [layer for layer in layers if any(_is_experts(name, one) for name, one in layer.named_modules())]
    if not with_experts:
        return dense
    shared = [_weights(*_shared_experts(layer)) for layer in with_experts]
    weights = experts_of_a_token / len(with_experts) + max(sum(one.values()) for one in shared)
    width = math.ceil(weights / (3 * hidden))
    return max(width, dense) if len(with_experts) < len(layers) and "Mamba" not in type(decoder).__name__ else width


def _shared_experts(layer: nn.Module) -> list[nn.Module]:
    return [one for name, one in layer.named_modules() if name.rpartition(".")[2].startswith("shared_expert")]


def _attends(layer: nn.Module) -> bool:
    """Whether a layer keeps keys and values of every token."""
    kinds = [type(module).__name__ for module in layer.modules() if module is not layer]
    return any(ATTENTION.search(kind) and not NO_ATTENTION.search(kind) for kind in kinds)


def _linear_layers(decoder: nn.Module, head: Any) -> dict[str, list[int]]:
    """Name -> how many, inputs and outputs, for each size; without experts, routers and the head."""
    from transformers.pytorch_utils import Conv1D

    inside_experts = {
        id(one) for name, part in decoder.named_modules() if _is_experts(name, part) for one in part.modules()
    }
    found: dict[str, Counter[tuple[int, int]]] = {}
    for name, module in decoder.named_modules():
        if not isinstance(module, nn.Linear | Conv1D) or module is head or id(module) in inside_experts:
            continue
        if ROUTER.search(name):
            continue
        rows, columns = module.weight.shape
        sizes = (rows, columns) if isinstance(module, Conv1D) else (columns, rows)
        found.setdefault(name.rpartition(".")[2], Counter())[sizes] += 1
    return {
        name: [n for sizes, count in sorted(of.items()) for n in (count, *sizes)] for name, of in sorted(found.items())
    }


def ignored_names(model: Any) -> tuple[str, ...]:
    """Regular expressions of names in the weight files that this model does not load, such as those of a tower where
    transformers takes the language model alone."""
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or []
    tied = [f"^{re.escape(name)}$" for name in _tied_names(model)]
    return tuple(sorted({*map(str, patterns), *tied}))


def _tied_names(model: Any) -> list[str]:
    """Names of parameters that are another one's, which some checkpoints hold twice."""
    once = {name for name, _ in model.named_parameters()}
    return sorted(name for name, _ in model.named_parameters(remove_duplicate=False) if name not in once)
