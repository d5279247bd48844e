"""Write what was trained as RUN/model, a plain Hugging Face folder, and RUN/adapter; verified before they are there."""

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sciriff.config import Config, ModelConfig
from sciriff.finetune import adapters, model_card
from sciriff.finetune.backends import Backend
from sciriff.finetune.packing import Batch, joined
from sciriff.finetune.workers import Workers
from sciriff.models import verification
from sciriff.models.chat_markup import end_ids, jinja_template
from sciriff.models.loading import load_tokenizer
from sciriff.run.run_dir import RunDir

SHARD = "5GB"
"""Of the files that the weights are cut into at most: what uploads and slow disks take well."""


def is_complete(folder: Path) -> bool:
    """Whether a finished model stands here. It comes by a rename, so that its config means that the rest is there."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def write(config: Config, run: RunDir, language_model: Any, backend: Backend, workers: Workers, step: int) -> None:
    """Write RUN/model and, of LoRA, RUN/adapter, with the weights after `step` steps. Every process calls it.

    What is on disk is compared with what was trained, bit for bit and by an answer (verification.py), then renamed,
    the adapter first. The weights that rank 0 collects are gone before it loads the folder. `language_model` is the
    transformers model that was trained: of it the class, the configuration and the places of adapters are used.
    UserError says what is not as trained.
    """
    weights = backend.weights()
    model, adapter = (path.with_name(path.name + ".partial") for path in (run.model, run.adapter))
    asked = None
    if workers.rank == 0:
        for path in (model, adapter):
            if path.exists():
                shutil.rmtree(path)
        if config.train.adapts:
            adapters.save(language_model, weights, config.model, adapter)
            (adapter / "README.md").write_text(model_card.page(config, run, step, of_adapter=True), encoding="utf-8")
            adapters.merge(language_model, weights, getattr(torch, config.model.dtype))
        digests = _write_model(config.model, language_model, weights, model)
        (model / "README.md").write_text(model_card.page(config, run, step), encoding="utf-8")
        asked = verification.reload(config.model, model, digests)
    del weights
    tokens, answer = workers.gather([(asked.tokens, asked.answer)] if asked else [])[0]
    logits = backend.logits(_as_batch(tokens, answer))  # of the trained model, by all processes
    if asked:
        verification.compare(asked, logits, config, model)
    if workers.rank == 0:
        for partial, final in ((adapter, run.adapter), (model, run.model)):
            if final.exists():
                shutil.rmtree(final)
            if partial.exists():
                partial.rename(final)


def _as_batch(tokens: list[int], answer: int) -> Batch:
    """The tokens as one sequence, of which the last `answer` are targets."""
    targets = np.zeros(len(tokens), np.bool_)
    targets[-answer:] = True
    return joined([(np.array(tokens), targets)])


def _write_model(
    model: ModelConfig, language_model: Any, weights: dict[str, torch.Tensor], folder: Path
) -> dict[str, verification.Digest]:
    """Write weights in `model.dtype`, config, generation config and tokenizer. Returns the digest of each weight.

    `weights` is empty afterwards.
    """
    dtype = getattr(torch, model.dtype)
    for name in weights:
        weights[name] = weights[name].detach().to("cpu", dtype)
    digests = verification.digests(weights)
    config = deepcopy(language_model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    with torch.device("meta"):
        # Of the trained model's class, and without what adapters and four bits have made of its layers.
        plain = type(language_model)(deepcopy(config))  # it writes its own type there
    plain.save_pretrained(folder, state_dict=weights, max_shard_size=SHARD)
    weights.clear()
    config.save_pretrained(folder)
    tokenizer = load_tokenizer(model)
    _generation_config(model, tokenizer).save_pretrained(folder)
    if (template := jinja_template(model.chat)) is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return digests


def _generation_config(model: ModelConfig, tokenizer: Any) -> Any:
    """Greedy, ended by what ends an answer in training. What a published model brings is not kept: its sampling
    settings are of all kinds, and its end tokens are those of another markup."""
    from transformers import GenerationConfig

    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_ids(model.chat, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
