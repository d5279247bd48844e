"""Rehearse before the first step what the end of a training with adapters does: merging, and saving for peft.

All layers are merged without their numbers, which shows names and shapes; one layer of each kind with them, written and
read back under the names of the checkpoint. Takes seconds, and what it finds would otherwise be found after hours.
"""

import shutil
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from sciriff.config import Config
from sciriff.finetune import adapters
from sciriff.finetune.disk import writing
from sciriff.finetune.workers import Workers
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError


def check(config: Config, language_model: Any, run: RunDir, workers: Workers) -> None:
    """UserError on all ranks, in one line, if these adapters could not be merged or saved in the end."""
    problem = None
    kinds = one_of_each_kind(language_model)
    samples = [
        _sample(name, layer, config, workers.rank == 0) for name, layer in kinds.items()
    ]  # by all ranks together
    if workers.rank == 0:
        folder = run.root / "rehearsal.partial"
        try:
            plain = _without_weights(language_model)
            _rehearse_adapter(config, language_model, plain)
            _rehearse_names(config, language_model, plain)
            with writing(folder, "Make room there, then resume"):
                _rehearse_numbers(config, kinds, samples, plain, folder)
        except OSError as error:  # of the disk, which no other layers would help
            problem = str(error)
        except Exception as error:  # whatever would fail after the training
            family = type(language_model).__name__
            what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            what = " ".join(what.split())
            problem = f"adapters of {family} could not be merged or saved after the training: {what}; choose other "
            problem += "train.lora_targets, or train=full"
        finally:
            if folder.exists():
                shutil.rmtree(folder)
    problem = workers.broadcast(problem)
    if problem is not None:
        raise UserError(problem)


def one_of_each_kind(language_model: Any) -> dict[str, Any]:
    """Return the first adapted layer of each kind by name: of a class, around a class, for a parameter and a shape."""
    kinds: dict[tuple[Any, ...], tuple[str, Any]] = {}
    for name, layer in adapters.layers(language_model):
        key = adapters.weight_name(name, layer)
        around = layer.get_base_layer()
        shape = (around.in_features, around.out_features) if isinstance(around, torch.nn.Linear) else None
        kinds.setdefault((type(layer), type(around), key.rpartition(".")[2], shape), (name, layer))
    return dict(kinds.values())


def _sample(name: str, layer: Any, config: Config, keeps: bool) -> dict[str, torch.Tensor]:
    """Return the whole weights of one layer by their names in the model; under ZeRO-3 every rank calls it."""
    gathered: Any = nullcontext()
    if config.deepspeed.zero_stage == 3:
        import deepspeed

        gathered = deepspeed.zero.GatheredParameters(list(layer.parameters()))
    with gathered:
        if not keeps:
            return {}
        return {f"{name}.{key}": tensor.detach().cpu().clone() for key, tensor in layer.state_dict().items()}


def _without_weights(language_model: Any) -> Any:
    """Return a model of the same class without adapters, whose weights have shapes and no numbers."""
    config = deepcopy(language_model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        return type(language_model)(config)


def _shapes(language_model: Any) -> dict[str, torch.Tensor]:
    """Return tensors without numbers for all weights of a model; ZeRO-3 and four bits hide shapes."""
    named = {**dict(language_model.named_parameters(remove_duplicate=False)), **dict(language_model.named_buffers())}
    shapes = {}
    for name in language_model.state_dict():
        if name in named:
            held = named[name]
            shape = getattr(held, "ds_shape", None) or getattr(getattr(held, "quant_state", None), "shape", held.shape)
            shapes[name] = torch.empty(tuple(shape), device="meta")
    return shapes


def _rehearse_adapter(config: Config, language_model: Any, plain: Any) -> None:
    """Let peft build the adapters of adapter_config.json on the published model, and compare their names and shapes
    with those of the file that will be written."""
    from peft import get_peft_model_state_dict, inject_adapter_in_model

    about = adapters.saved_settings(language_model, config.train, config.model)
    first = {name: tensor.to("meta") for name, tensor in language_model.first_adapters.items()}
    weights = {name: first.get(name, tensor) for name, tensor in _shapes(language_model).items()}
    ours = {name: tuple(tensor.shape) for name, tensor in adapters.saved(language_model, weights).items()}
    adapted = inject_adapter_in_model(about, deepcopy(plain), adapters.NAME, low_cpu_mem_usage=True)
    state = get_peft_model_state_dict(adapted, adapter_name=adapters.NAME, save_embedding_layers=False)
    theirs = {adapters.PREFIX + name: tuple(tensor.shape) for name, tensor in state.items()}
    if differing := sorted({name for name, _ in ours.items() ^ theirs.items()}):
        raise UserError(f"peft would not find {differing[0]} again in adapter_model.safetensors")


def _rehearse_names(config: Config, language_model: Any, plain: Any) -> None:
    """Compare names and shapes of the merged weights with those of the published model."""
    names = adapters.merged_names(language_model)
    merged = {names[name]: tuple(t.shape) for name, t in _shapes(language_model).items() if name in names}
    expected = {name: tuple(tensor.shape) for name, tensor in plain.state_dict().items()}
    if differing := sorted({name for name, _ in merged.items() ^ expected.items()}):
        raise UserError(f"{differing[0]} would be missing from the merged weights, or be of another shape")


def _rehearse_numbers(
    config: Config, kinds: dict[str, Any], samples: list[dict[str, torch.Tensor]], plain: Any, folder: Path
) -> None:
    """Merge one layer of each kind, and write and read back what comes of it as the model's files will be."""
    from safetensors.torch import load_file

    dtype = getattr(torch, config.model.dtype)
    for (name, layer), weights in zip(kinds.items(), samples, strict=True):
        adapters.dequantise(f"{name}.base_layer", layer.get_base_layer(), weights)
        adapters.merge_layer(name, layer, weights, dtype)
        tensor = weights[adapters.weight_name(name, layer)]
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"the merged weight of {name} is not finite")
        final = adapters.weight_name(name, layer).replace(".base_layer", "")
        plain.save_pretrained(folder, state_dict={final: tensor}, max_shard_size="100GB")
        read = [part for file in sorted(folder.glob("*.safetensors")) for part in load_file(file).values()]
        if sum(part.numel() for part in read) != tensor.numel() or any(part.dtype != dtype for part in read):
            raise UserError(f"{final} reads back with another size or type than was written")
        shutil.rmtree(folder)
