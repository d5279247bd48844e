"""Check what is at hand of a model before it is loaded: its weight files, their format, layers for adapters."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sciriff.config import LORA_PATTERN, Config, nearest
from sciriff.models.safetensors_header import missing_shards
from sciriff.models.stored_formats import cannot_be_restored, no_model_folder
from sciriff.models.training_memory import linear_layers, shape_of
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir
from sciriff.run.visible import shortened, visible_line

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
"""Ends of the names of files that may hold a model's weights."""
EXPERTS = "experts"
OF_EXPERTS = re.compile(r"(gate|up|down|gate_up|up_gate)_proj|w\d\w*|\w*linear\w*|\w*fc\d?", re.ASCII)
"""Names that tensors and layers of experts have, which a shape has under one name."""


def missing_weights(config: Config) -> Iterator[str]:
    """Local folders to load a model from that have no weights, or not all of them."""
    for key, folder in _loaded(config):
        if not (folder / "config.json").is_file():
            yield f"{key}={folder} {no_model_folder(folder)}"
        elif missing := missing_shards(folder):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            yield (
                f"{key}={folder}: {_shown(missing[0])}{more} of its index of weights is not there; copy or download it "
                "again"
            )
        elif not any(file.suffix in WEIGHTS for file in folder.iterdir()):
            yield f"{key}={folder} has a config.json and no weights (*.safetensors); copy or download it again"


def _loaded(config: Config) -> Iterator[tuple[str, Path]]:
    """Key and path of the models that a stage loads from a local folder; none for a training that is done."""
    stages, model, other = config.active_stages, config.model.path, config.eval.model
    answers = "predict" in stages and not config.engine.asks
    trains = "train" in stages and not _has_trained(config)
    if model and Path(model).is_dir() and (trains or (answers and not config.makes_model and not other)):
        yield "model.path", Path(model)
    if other and answers and Path(other).is_dir():
        yield "eval.model", Path(other)


def _has_trained(config: Config) -> bool:
    train = Manifest.read(RunDir(Path(config.run_dir)).manifest).stages.get("train")
    return train is not None and train.status == "done"


def untrainable_weights(config: Config) -> Iterator[str]:
    """Weights of a local folder in a quantised format that training can neither restore nor train beside."""
    path = config.model.path
    if "train" not in config.active_stages or not path:
        return
    try:
        about = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # its shape could not be read either, which was said
        return
    stored = about.get("quantization_config") if isinstance(about, dict) else None
    if isinstance(stored, Mapping) and (
        reason := cannot_be_restored(stored, path, in_four_bits=config.train.method == "qlora")
    ):
        yield reason


def unknown_layers(config: Config) -> Iterator[str]:
    """Plain names in train.lora_targets that no linear layer of the model has, where its layers are known."""
    if "train" not in config.active_stages or not config.train.lora_targets:
        return
    shape = shape_of(config)
    if config.model.path and not shape.read_from and not shape.linear:
        return  # a typed shape says nothing of names
    known = sorted(linear_layers(shape))
    for target in config.train.lora_targets:
        name = target.rpartition(".")[2]
        if target == "all-linear":
            yield "train.lora_targets: all-linear is null here: train.lora_targets=null is every linear layer"
        elif name == EXPERTS and EXPERTS not in known:
            yield f"train.lora_targets: {target} are asked for, and this model has none"
        elif not (LORA_PATTERN.search(target) or name in known or (EXPERTS in known and OF_EXPERTS.fullmatch(name))):
            yield f"train.lora_targets: there is no linear layer {_shown(target)} to adapt{nearest(name, known)}"


def _shown(text: str) -> str:
    return shortened(visible_line(text), 100)
