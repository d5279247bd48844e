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
from sciriff.models.loading import auto_class
from sciriff.models.parts import (
    PER_TOKEN,
    attends,
    decoder_of,
    expert_modules,
    layers_of,
    number,
    router_modules,
    share_of_experts,
)
from sciriff.models.training_memory import largest_matrix, layer_parameters, linear_layers

INNER = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_ff")
LONGEST = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
OF_EXPERTS = "experts"
"""Name under which a shape has the matrices of all experts."""


class UnknownFamily(Exception):
    """transformers has no such model."""


def empty_model(values: dict[str, Any], source: str, revision: str | None, trust_remote_code: bool) -> Any:
    """Build the model of the values of a config.json on the meta device, where a tensor has a shape and no memory; code
    beside it runs under `trust_remote_code` alone. UnknownFamily, or whatever the family raises."""
    from transformers import CONFIG_MAPPING, AutoConfig

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
        try:
            model = auto_class(config).from_config(
                config, attn_implementation="eager", trust_remote_code=trust_remote_code
            )
        except ValueError as error:
            if "Unrecognized configuration class" not in str(error):
                raise
            raise UnknownFamily(family) from None
    model.tie_weights()
    return model


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
    decoder = decoder_of(model)
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    own = _weights(decoder, inputs, outputs)
    all_weights = _weights(model)
    layers = layers_of(model)
    heads = number(text, "num_attention_heads", "n_head", "num_heads") or 1
    kv_heads = number(text, "num_key_value_heads", "num_kv_heads") or heads
    hidden = number(text, "hidden_size") or int(inputs.weight.shape[1])
    context = number(text, *LONGEST)
    if context is None:
        notes.append(
            f"its config.json has no longest sequence; {default_context:,} tokens are taken: model.shape.context"
        )
    share = share_of_experts(text)
    shape = ShapeConfig(
        layers=len(layers),
        hidden=hidden,
        intermediate=_intermediate(layers, text, hidden, share),
        heads=heads,
        kv_heads=kv_heads if heads % kv_heads == 0 else heads,
        vocabulary=int(inputs.weight.shape[0]),
        context=context or default_context,
        tied_embeddings=outputs is not None and outputs.weight is inputs.weight,
        head_width=_head_width(text, heads, hidden),
        total=sum(all_weights.values()),
    )
    active = _active(decoder, own, _weights(*expert_modules(decoder).values()), share)
    return _only_what_differs(shape, model, layers, own, active), tuple(notes)


def _only_what_differs(
    shape: ShapeConfig, model: Any, layers: list[nn.Module], own: dict[int, int], active: int
) -> ShapeConfig:
    """The shape with the keys that a Llama's formula has wrong, and null for the others."""
    llama = replace(shape, total=None)
    assert shape.total is not None
    frozen, without_attention = shape.total - sum(own.values()), sum(not attends(one) for one in layers)
    largest, layer = max(own.values()), max(sum(_weights(one).values()) for one in layers)
    linear = _linear_layers(decoder_of(model), model.get_output_embeddings(), model.config.get_text_config())
    as_llama = {name: [n for size in sizes for n in size] for name, sizes in linear_layers(llama).items()}
    return replace(
        shape,
        total=None if shape.total == llama.parameters else shape.total,
        active=active if active < shape.total else None,
        frozen=frozen or None,
        without_attention=without_attention or None,
        layer=layer if layer > layer_parameters(llama) or shape.total != llama.parameters else None,
        kept=_kept_besides(layers, llama, model.config.get_text_config()) or None,
        largest=largest if largest != largest_matrix(llama) else None,
        linear={} if linear == as_llama else linear,
    )


def _weights(*modules: Any) -> dict[int, int]:
    """Identity -> number of weights, of each parameter once."""
    found = chain.from_iterable(module.parameters() for module in modules if module is not None)
    return {id(parameter): parameter.numel() for parameter in found}


def _head_width(text: Any, heads: int, hidden: int) -> int | None:
    """Width of a head's keys where it is not hidden / heads."""
    parts = [number(text, name) for name in ("qk_nope_head_dim", "qk_rope_head_dim")]
    widths = [number(text, name) for name in ("head_dim", "global_head_dim", "attention_head_dim", "kv_channels")]
    width = sum(part for part in parts if part) or max((width for width in widths if width), default=0)
    if not width:
        return None if hidden % heads == 0 else hidden // heads
    return width if width * heads != hidden else None


def _active(decoder: nn.Module, own: dict[int, int], experts: dict[int, int], share: float) -> int:
    """Weights of the language model that a token goes through. Tables that are looked up beside the embeddings, as in
    Gemma 3n, are not among them."""
    tables = [one for one in decoder.modules() if isinstance(one, nn.Embedding)]
    embedding = max((one.weight.numel() for one in tables), default=0)
    looked_up = sum(_weights(*tables).values()) - embedding if len(tables) > 1 else 0
    return round(sum(own.values()) - sum(experts.values()) * (1 - share)) - looked_up


def _intermediate(layers: list[nn.Module], text: Any, hidden: int, share: float) -> int:
    """Width of the MLP. With experts, that of a gated MLP with as many weights as the experts of a token have together;
    where only some layers have experts, of the wider kind."""
    dense = number(text, *INNER) or 4 * hidden
    widths = [width for layer in layers if (width := _expert_width(layer, hidden, share))]
    if not widths:
        return dense
    return max(*widths, dense) if len(widths) < sum(map(_has_matrices, layers)) else max(widths)


def _expert_width(layer: nn.Module, hidden: int, share: float) -> int:
    experts = sum(p.numel() for p in _matrices(*expert_modules(layer).values()))
    shared = [
        one
        for name, one in layer.named_modules()
        if name.rpartition(".")[2].startswith(("shared_expert", "shared_mlp"))
    ]
    return math.ceil((share * experts + sum(p.numel() for p in _matrices(*shared))) / (3 * hidden)) if experts else 0


def _kept_besides(layers: list[nn.Module], llama: ShapeConfig, text: Any) -> int:
    """Bytes of a token that a layer keeps besides a Llama's two norms, in bf16: a norm keeps its input in fp32 and two
    values in bf16; each expert of a token what goes in and comes out."""
    chosen = number(text, *PER_TOKEN) or 0
    kept = []
    for layer in layers:
        norms = sum(_norm_width(name, one, llama) for name, one in layer.named_modules())
        experts = chosen if expert_modules(layer) else 0
        kept.append(8 * max(0, norms - 2 * llama.hidden) + 4 * experts * llama.hidden)
    return max(kept)


def _norm_width(name: str, module: nn.Module, llama: ShapeConfig) -> int:
    """Values of a token that a norm makes; one of heads has a weight for a single head."""
    weight = getattr(module, "weight", None)
    if "Norm" not in type(module).__name__ or weight is None:
        return 0
    widths = {"q_norm": llama.queries, "k_norm": llama.keys, "q_layernorm": llama.queries, "k_layernorm": llama.keys}
    return int(widths.get(name.rpartition(".")[2], weight.numel()))


def _matrices(*modules: nn.Module) -> list[nn.Parameter]:
    """Their weights without biases, each once."""
    found = {id(p): p for one in modules for name, p in one.named_parameters() if p.dim() > 1 and "bias" not in name}
    return list(found.values())


def _has_matrices(layer: nn.Module) -> bool:
    """Whether a layer has an MLP or experts, and not only attention or a state-space layer."""
    return any(
        re.fullmatch(r"mlp|feed_forward|ffn|block_sparse_moe|moe", name)
        for name, _ in layer.named_modules()
        for name in [name.rpartition(".")[2]]
    )


def _linear_layers(decoder: nn.Module, head: Any, text: Any) -> dict[str, list[int]]:
    """Name -> how many, inputs and outputs, for each size; without routers and the head, and all experts under one
    name."""
    from transformers.pytorch_utils import Conv1D

    found: dict[str, Counter[tuple[int, int]]] = {}
    experts, routers = expert_modules(decoder), router_modules(decoder, text)
    apart = {id(one) for part in (*experts.values(), *routers.values()) for one in part.modules()}
    for matrix in _matrices(*experts.values()):
        *several, outputs, inputs = matrix.shape
        found.setdefault(OF_EXPERTS, Counter())[inputs, outputs] += math.prod(several)
    for name, module in decoder.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not head and id(module) not in apart:
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
