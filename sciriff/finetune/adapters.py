"""LoRA: small trained matrices beside frozen layers (Hu et al. 2021, arXiv 2106.09685); added, saved, and merged.

A layer with weight W computes W x + lora_alpha / lora_rank * B (A x); only A and B are trained. `train.lora_variant`:

* rslora: the factor is lora_alpha / sqrt(lora_rank) (Kalajdzievski 2023, arXiv 2312.03732).
* dora: W + s B A with its rows scaled to trained lengths (Liu et al. 2024, arXiv 2402.09353).
* pissa: A and B begin as the largest singular parts of W, which are taken out of W (Meng et al. 2024, arXiv
  2404.02948). What is saved is the difference from that beginning: a plain adapter of twice the rank for W itself.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sciriff.config import ModelConfig, TrainConfig
from sciriff.finetune import adapter_targets
from sciriff.run.user_error import UserError

NAME = "default"
"""peft's name for a single adapter."""

PREFIX = "base_model.model."
"""Prefix of each name in peft's files, which wrap the model twice."""

TRAINED = re.compile(rf"\.lora_\w+\.{NAME}\b")
"""Part of the name of each weight of an adapter."""

FIRST_FILE = "first_adapters.safetensors"
"""File of a checkpoint with the weights that PiSSA's adapters began with."""

PISSA_ITERATIONS = 16
"""Subspace iterations of the singular value decomposition; the PiSSA paper finds the loss of an exact one with them."""


class _Holder(nn.Module):
    """A plain module around the language model, for which peft takes names as they are: in a transformers model of
    some families it turns gate_proj, up_proj and down_proj of ordinary layers into those of experts."""

    def __init__(self, language_model: Any) -> None:
        super().__init__()
        self.language_model = language_model
        self.is_loaded_in_4bit = getattr(language_model, "is_loaded_in_4bit", False)


def add(
    language_model: Any,
    train: TrainConfig,
    *,
    seed: int,
    dtype: torch.dtype,
    device: torch.device | None = None,
    partitioned: bool = False,
    first: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Freeze the model and replace the layers of `train.lora_targets` by peft's, with adapters of type `dtype`.

    Their initial weights depend on `seed` alone, and with PiSSA on the model's weights (decomposed on `device`), or are
    `first`, which `first_of` gives; the model's outputs are unchanged. UserError names a target that does not exist or
    that the variant cannot adapt, or not in weights that are `partitioned` (ZeRO-3).
    """
    from peft import inject_adapter_in_model

    targets = adapter_targets.choose(language_model, train.lora_targets, train.lora_exclude)
    _check_experts(targets, train, partitioned)
    if train.lora_variant == "dora":
        targets = _that_peft_reads(language_model, targets, train)
    holder = _Holder(language_model)
    settings = _settings(train)
    settings.target_modules = [f"language_model.{name}" for name in targets.layers]
    settings.target_parameters = [f"language_model.{name}" for name in targets.parameters]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the order of tensors in one module, which is the same at every start
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, holder, NAME)
        for parameter in language_model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)
        language_model.first_adapters = (
            _take_out_principal(language_model, device, first) if train.lora_variant == "pissa" else {}
        )
    if train.lora_variant == "dora":
        _measure_lengths(language_model)
    settings.target_modules, settings.target_parameters = _as_peft_reads(language_model, targets)
    settings.lora_dropout = train.lora_dropout if not settings.target_parameters else 0.0
    language_model.peft_config = {NAME: settings}


def _settings(train: TrainConfig, rank: int = 1) -> Any:
    """Return peft's settings for these adapters, or for such of `rank` times their rank and the same factor."""
    from peft import LoraConfig

    assert train.lora_rank is not None and train.lora_alpha is not None
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=rank * train.lora_rank,
        lora_alpha=rank * train.lora_alpha,
        lora_dropout=train.lora_dropout,
        use_rslora=train.lora_variant == "rslora",
        use_dora=train.lora_variant == "dora",
        bias="none",
    )


def _check_experts(targets: adapter_targets.Targets, train: TrainConfig, partitioned: bool) -> None:
    """UserError for adapters on tensors of experts with what peft cannot do there."""
    if targets.parameters and partitioned:
        raise UserError(
            f"train.lora_targets: adapters on experts ({targets.parameters[0]}) do not go with deepspeed.zero_stage=3, "
            "which has no whole weight to add them to: choose deepspeed=zero2 or deepspeed=none, or leave experts out"
        )
    if targets.parameters and train.lora_variant in ("dora", "pissa"):
        problem = f"train.lora_variant={train.lora_variant} does not go with adapters on experts"
        raise UserError(f"{problem} ({targets.parameters[0]}): use null or rslora, or leave experts out")
    if targets.parameters and train.lora_dropout:
        problem = f"train.lora_dropout={train.lora_dropout:g} does not go with adapters on experts"
        raise UserError(f"{problem} ({targets.parameters[0]}), whose inputs peft does not see: use 0")


def _that_peft_reads(
    language_model: Any, targets: adapter_targets.Targets, train: TrainConfig
) -> adapter_targets.Targets:
    """Leave out the layers whose adapters peft reads as those of a tensor, for which it has no DoRA. UserError if they
    are asked for."""
    left = [name for name in targets.layers if not _rewritten(language_model, name)]
    lost = [name for name in targets.layers if name not in left]
    if not left or (lost and train.lora_targets is not None):
        raise UserError(
            f"train.lora_variant=dora does not go with an adapter on {lost[0]}, which peft reads as experts' in this "
            "family: leave it out of train.lora_targets, or use null or rslora"
        )
    return targets._replace(layers=left)


def layers(language_model: Any) -> Iterator[tuple[str, Any]]:
    """Yield peft's layers of adapters, by name. Those of two tensors of one module lie around each other."""
    from peft.tuners.lora import LoraLayer

    return ((name, module) for name, module in language_model.named_modules() if isinstance(module, LoraLayer))


def weight_name(name: str, layer: Any) -> str:
    """Return the name of the frozen weight beside the adapter `layer`, which is called `name`."""
    own = getattr(layer, "parameter_name", "weight")
    while hasattr(layer, "base_layer"):
        layer, name = layer.base_layer, f"{name}.base_layer"
    return f"{name}.{own}"


def _take_out_principal(
    language_model: Any, device: torch.device | None, given: Mapping[str, torch.Tensor] | None
) -> dict[str, torch.Tensor]:
    """Start each adapter from the largest singular parts of its weight, or from what is `given`, and take that out of
    the weight, in place.

    They are rounded to the adapter's type first: what the weight loses is what the adapter has. Returns the adapters'
    first weights by name, on the CPU.
    """
    first: dict[str, torch.Tensor] = {}
    for name, layer in layers(language_model):
        a, b, base = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight, layer.get_base_layer().weight
        weight = base.data.to(device or base.device, torch.float32)
        weight = weight.T if layer.fan_in_fan_out else weight
        names = {f"{name}.lora_A.{NAME}.weight": a, f"{name}.lora_B.{NAME}.weight": b}
        if given is None:
            _set_principal(a, b, weight, layer.scaling[NAME])
        else:
            for key, parameter in names.items():
                parameter.data.copy_(given[key])
        taken = layer.scaling[NAME] * (b.data.to(weight) @ a.data.to(weight))
        rest = weight - taken
        base.data.copy_(rest.T if layer.fan_in_fan_out else rest)
        first |= {key: parameter.detach().cpu().clone() for key, parameter in names.items()}
    return first


def _set_principal(a: nn.Parameter, b: nn.Parameter, weight: torch.Tensor, scaling: float) -> None:
    """Set A and B to the largest singular parts of `weight`, which depend on random draws too."""
    rank = min(len(a), *weight.shape)
    left, values, right = torch.svd_lowrank(weight, q=rank, niter=PISSA_ITERATIONS)
    root = (values / scaling).sqrt()
    for part, values_of in ((a, root[:, None] * right.T), (b.T, left.T * root[:, None])):
        part.data.zero_()  # a rank above the weight's own leaves rows that stay without effect
        part.data[:rank] = values_of.to(part)


def save_first(language_model: Any, folder: Path) -> None:
    """Write the weights that PiSSA's adapters began with into a checkpoint, whose frozen weights follow from them."""
    from safetensors.torch import save_file

    if first := getattr(language_model, "first_adapters", {}):
        save_file(first, folder / FIRST_FILE)


def first_of(folder: Path, train: TrainConfig) -> dict[str, torch.Tensor] | None:
    """Return what `save_first` wrote into a checkpoint, with PiSSA. UserError if it lacks the file: another device or
    release may decompose the weights differently, and what was trained would lie beside other frozen weights."""
    from safetensors.torch import load_file

    if train.lora_variant != "pissa":
        return None
    if not (folder / FIRST_FILE).is_file():
        raise UserError(
            f"{folder} lacks {FIRST_FILE}, what train.lora_variant=pissa began with; delete {folder.parent} to train "
            "from the beginning, or use another run_dir"
        )
    return load_file(folder / FIRST_FILE)


def _measure_lengths(language_model: Any) -> None:
    """Set the lengths that DoRA starts from to those of the weights' rows, in float32: peft rounds them to the frozen
    weights' type, with which the model would not begin as it was."""
    from peft.utils.integrations import dequantize_module_weight

    for _, layer in layers(language_model):
        weight = dequantize_module_weight(layer.get_base_layer()).detach().float()
        length = layer.lora_magnitude_vector[NAME].weight
        length.data = torch.linalg.norm(weight.T if layer.fan_in_fan_out else weight, dim=1).to(length)


def _as_peft_reads(language_model: Any, targets: adapter_targets.Targets) -> tuple[list[str], list[str]]:
    """Return target_modules and target_parameters for adapter_config.json, with which peft finds these layers again.

    Names that it would take for those of experts are given as those of their weight instead.
    """
    without = {
        name.replace(".base_layer", "") for name, _ in language_model.named_modules() if not TRAINED.search(name)
    }
    modules = adapter_targets.shortest(targets.layers, without)
    tensors = {name.replace(".base_layer", "") for name, _ in language_model.named_parameters()}
    experts = adapter_targets.shortest(targets.parameters, tensors, parts=2)
    rewritten = {name for name in modules if _rewritten(language_model, name)}
    return [n for n in modules if n not in rewritten], sorted([*experts, *(f"{name}.weight" for name in rewritten)])


def _rewritten(language_model: Any, name: str) -> bool:
    """Return whether peft takes a layer's name for that of experts, as transformers 4 called them, in this family."""
    from peft import LoraConfig

    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers as convert
    except ImportError:  # an older peft, or transformers 4, whose experts are layers
        return False
    settings = LoraConfig(target_modules=[name])
    try:
        convert(settings, language_model, None)
    except ValueError:  # only a part of what is fused
        return True
    return set(settings.target_modules) != {name}


def describe(language_model: Any, train: TrainConfig) -> str:
    """Return a line about which layers have adapters, how many weights these are, and what of the experts has none."""
    found = [weight_name(name, layer).replace(".base_layer", "") for name, layer in layers(language_model)]
    names = sorted({name.removesuffix(".weight").rpartition(".")[2] for name in found})
    count = sum(
        int(getattr(p, "ds_numel", p.numel())) for n, p in language_model.named_parameters() if TRAINED.search(n)
    )
    variant = {"rslora": "rank-stabilised LoRA", "dora": "DoRA", "pissa": "PiSSA"}.get(train.lora_variant or "", "LoRA")
    line = (
        f"{variant}: adapters of rank {train.lora_rank} on {len(found)} layers ({', '.join(names)}), {count:,} weights"
    )
    experts = adapter_targets.candidates(language_model)
    weights_of_experts = {*experts.expert_parameters, *(f"{name}.weight" for name in experts.expert_layers)}
    weights_of_experts = {name.replace(".base_layer", "") for name in weights_of_experts}
    if weights_of_experts and weights_of_experts.isdisjoint(found):
        asked = ",".join([*(train.lora_targets or names), adapter_targets.EXPERTS])
        line += f"; routers and experts have none (train.lora_targets=[{asked}] gives experts some)"
    elif weights_of_experts:
        line += "; routers have none"
    return line


def file_name(name: str) -> str:
    """Return the name that a weight of an adapter has in peft's files."""
    return PREFIX + name.replace(f".{NAME}.", ".").replace(".lora_magnitude_vector.weight", ".lora_magnitude_vector")


def saved(language_model: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of the adapter by their names in peft's files: the trained ones, with PiSSA beside the first
    ones, which are subtracted: W + s (B A - B0 A0) is s [B, -B0] [A; A0] beside the published weight W."""
    adapter, first = {}, getattr(language_model, "first_adapters", {})
    for name, tensor in weights.items():
        if TRAINED.search(name):
            if name in first:
                is_a, start = ".lora_A." in name, first[name].to(tensor)
                tensor = torch.cat([tensor, start if is_a else -start], dim=0 if is_a else 1)
            adapter[file_name(name)] = tensor.detach()
    return adapter


def saved_settings(language_model: Any, train: TrainConfig, model: ModelConfig) -> Any:
    """Return peft's settings for the adapter that `saved` returns. A model on the hub is named by its id."""
    kept = language_model.peft_config[NAME]
    about = _settings(train, rank=2 if train.lora_variant == "pissa" else 1)
    about.target_modules, about.target_parameters = kept.target_modules, kept.target_parameters or None
    about.lora_dropout = kept.lora_dropout
    about.base_model_name_or_path, about.revision = model.hub_id, model.revision if model.hub_id else None
    about.inference_mode = True
    return about


def save(
    language_model: Any, weights: Mapping[str, torch.Tensor], train: TrainConfig, model: ModelConfig, folder: Path
) -> None:
    """Write adapter_config.json and adapter_model.safetensors for peft from the language model's weights.

    UserError if the file reads back differently, bit for bit.
    """
    from safetensors.torch import load_file, save_file

    adapter = {name: tensor.cpu().contiguous() for name, tensor in saved(language_model, weights).items()}
    folder.mkdir()
    file = folder / "adapter_model.safetensors"
    save_file(adapter, file, metadata={"format": "pt"})
    about = saved_settings(language_model, train, model)
    about.target_modules = sorted(about.target_modules)  # peft makes it a set, whose order changes
    about.save_pretrained(folder)
    read = load_file(file)
    for name, tensor in adapter.items():
        if name not in read or not torch.equal(read[name], tensor):
            raise UserError(f"{file}: {name} reads back differently from what was trained; is the disk full?")


def merge(language_model: Any, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    """Replace `weights` by those of an equivalent model without adapters: each frozen weight and peft's own change of
    it, computed in float32 and rounded to `dtype` once, on the CPU. Weights in four bits are dequantised, as in
    training."""
    for name, module in language_model.named_modules():
        dequantise(name, module, weights)
    for name, layer in layers(language_model):
        merge_layer(name, layer, weights, dtype)
    for name, final in merged_names(language_model).items():
        if name in weights:
            weights[final] = weights.pop(name)


def merged_names(language_model: Any) -> dict[str, str]:
    """Return the names of the model's own weights -> those in the published model, around which peft has no layers."""
    adapted = tuple(f"{name}.base_layer." for name, _ in layers(language_model))
    return {
        name: name.replace(".base_layer.", ".").replace(".base_layer.", ".") if name.startswith(adapted) else name
        for name in language_model.state_dict()
        if not TRAINED.search(name)
    }


def dequantise(name: str, module: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Replace the weight in four bits of a module called `name`, if it has one, by what it stands for."""
    weight = module._parameters.get("weight")  # not `.weight`: peft shows the inner layer's
    if weight is None or not hasattr(weight, "quant_state"):
        return
    from bitsandbytes.functional import dequantize_4bit

    for part in [key for key in weights if f"{key}.".startswith(f"{name}.weight.")]:
        del weights[part]
    weights[f"{name}.weight"] = dequantize_4bit(weight.data, weight.quant_state).cpu()


def merge_layer(name: str, layer: Any, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    """Take the weights of one adapter out of `weights` and add what they do to the frozen weight there."""
    key = weight_name(name, layer)
    own = {k: weights.pop(k) for k in [k for k in weights if k.startswith(f"{name}.lora_") and TRAINED.search(k)]}
    base = weights[key].to("cpu", torch.float32, copy=True)
    parts = {key: base} | {k: tensor.to("cpu", torch.float32) for k, tensor in own.items()}
    with torch.no_grad(), _holding(layer, {k.removeprefix(f"{name}."): tensor for k, tensor in parts.items()}):
        if (variant := getattr(layer, "lora_variant", {}).get(NAME)) is not None:
            merged = variant.merge_safe(layer, NAME, base)
        else:
            merged = base.add_(layer.get_delta_weight(NAME))
    weights[key] = merged.to(dtype)


@contextmanager
def _holding(layer: nn.Module, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let the parameters of a layer be these tensors for a while, whatever it holds itself: parts under ZeRO-3, weights
    in four bits, and another type of number."""
    before = []
    try:
        for name, tensor in tensors.items():
            path, _, key = name.rpartition(".")
            owner = layer.get_submodule(path)
            before.append((owner, key, owner._parameters[key]))
            owner._parameters[key] = nn.Parameter(tensor, requires_grad=False)
        yield
    finally:
        for owner, key, parameter in before:
            owner._parameters[key] = parameter
