"""Write the trained weights as RUN/model, a plain Hugging Face folder, and RUN/adapter; both are verified first."""

import shutil
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sciriff.config import Config, ModelConfig
from sciriff.data.selection import write_chosen
from sciriff.finetune import adapters, model_card
from sciriff.finetune.backends import Backend
from sciriff.finetune.packing import concatenate
from sciriff.finetune.workers import Workers
from sciriff.models import verification
from sciriff.models.model_folder import put_in_place, write_small_files
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

SHARD_SIZE = "5GB"
"""Maximum size of a weight file, convenient for uploads and slow disks."""


class Plan(NamedTuple):
    """How the finished model will be written; save_rehearsal.py finds out before the first step."""

    dtypes: Mapping[str, torch.dtype] = {}
    """Type of each weight that is not of `model.dtype`: a few that transformers reads in float32 whatever a file has,
    such as the routers of some mixtures of experts."""
    processor: Mapping[str, bytes] = {}
    """Name and content of the base model's files about pictures and sounds."""


def is_complete(folder: Path) -> bool:
    """Return whether a folder holds a finished model. It appears by a rename, so its config implies the rest."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def write(
    config: Config, run: RunDir, language_model: Any, backend: Backend, workers: Workers, step: int, plan: Plan
) -> None:
    """Write the weights after `step` optimizer steps to RUN/model and, for LoRA, RUN/adapter. Every rank calls it.

    The adapter is written, read back and renamed before it is merged, so that no failure later loses it. The model is
    renamed once it is verified (verification.py). Rank 0 frees the weights it collected before it loads the folder.
    Only class, configuration and adapted layers of `language_model`, the trained transformers model, are used.
    UserError names what differs from training.
    """
    weights = backend.weights()
    model, adapter = (path.with_name(path.name + ".partial") for path in (run.model, run.adapter))
    answer = None
    if workers.rank == 0:
        for path in (model, adapter):
            if path.exists():
                shutil.rmtree(path)
        if config.train.adapts:
            adapters.save(language_model, weights, config.train, config.model, adapter)
            (adapter / "README.md").write_text(model_card.page(config, run, step, of_adapter=True), encoding="utf-8")
            put_in_place(adapter, run.adapter)
            _merge(config, language_model, weights, run.adapter)
        digests = _write_model(config.model, language_model, weights, model, plan)
        (model / "README.md").write_text(model_card.page(config, run, step), encoding="utf-8")
        write_chosen(config, run, model)
        answer = verification.reload(config.model, model, digests)
    del weights
    tokens, length = workers.broadcast((answer.tokens, answer.length) if answer else None)
    is_answer = np.arange(len(tokens)) >= len(tokens) - length
    logits = backend.evaluate(concatenate([(np.array(tokens), is_answer)]), as_logits=True)  # by all ranks together
    if answer:
        verification.compare(answer, logits, config, model)
    if workers.rank == 0:
        if not config.train.adapts and run.adapter.exists():
            shutil.rmtree(run.adapter)
        put_in_place(model, run.model)


def _merge(config: Config, language_model: Any, weights: dict[str, torch.Tensor], adapter: Path) -> None:
    """Merge the adapters into `weights`. UserError, whatever goes wrong, says where the trained adapter is."""
    try:
        adapters.merge(language_model, weights, getattr(torch, config.model.dtype))
    except Exception as error:  # peft's, for a kind of layer that the rehearsal had no sample of, or too little memory
        reason = " ".join(str(error).split())
        raise UserError(
            f"the adapter is trained and whole in {adapter}, but merging it failed ({type(error).__name__}: {reason}); "
            f"merge it by hand with peft: PeftModel.from_pretrained(base, {str(adapter)!r}).merge_and_unload()"
        ) from error


def _write_model(
    model: ModelConfig, language_model: Any, weights: dict[str, torch.Tensor], folder: Path, plan: Plan
) -> dict[str, verification.Digest]:
    """Write weights in `model.dtype`, configs and tokenizer. Empties `weights`, and returns the digest of each."""
    dtype = getattr(torch, model.dtype)
    first: dict[int, str] = {}
    same_as = {name: first.setdefault(weight.data_ptr(), name) for name, weight in weights.items()}
    for name, weight in weights.items():
        if (other := same_as[name]) != name and weight.shape == weights[other].shape:
            weights[name] = weights[other]  # tied weights stay one, which is saved once
            continue
        kept = plan.dtypes.get(name, dtype if weight.is_floating_point() else weight.dtype)
        weights[name] = weight.detach().to("cpu", kept)
    digests = verification.digests(weights)
    plain = skeleton(model, language_model)
    config = deepcopy(plain.config)  # to save weights changes it
    plain.save_pretrained(folder, state_dict=weights, max_shard_size=SHARD_SIZE)
    weights.clear()
    write_small_files(model, config, plan.processor, folder)
    return digests


def skeleton(model: ModelConfig, language_model: Any) -> Any:
    """Return a model of the same class and config on the meta device, without the layers that adapters and quantisation
    have put into `language_model`."""
    config = deepcopy(language_model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(language_model).__name__]  # servers take no model without; one built here has none
    with torch.device("meta"):
        plain = type(language_model)(config)
    for part in {id(one): one for one in (config, config.get_text_config())}.values():
        part.dtype = getattr(torch, model.dtype)
    return plain
