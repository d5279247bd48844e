"""Write all files of a finished model but its weights, and put its folder in place."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciriff.config import ModelConfig
from sciriff.models.chat_markup import end_ids, saved_template
from sciriff.models.loading import load_tokenizer


def put_in_place(partial: Path, final: Path) -> None:
    """Rename a folder that is complete, over an earlier one: a model that is there is whole."""
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)


def write_small_files(model: ModelConfig, config: Any, processor: Mapping[str, bytes], folder: Path) -> None:
    """Write all files of a finished model but its weights: configs, tokenizer with chat template, `processor`."""
    from transformers import GenerationConfig

    config.save_pretrained(folder)
    tokenizer = load_tokenizer(model)
    # A published model's own generation config is not kept: it may sample, and its end tokens belong to another markup.
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_ids(model.chat, tokenizer, model.chat_settings),
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)
    tokenizer.chat_template = saved_template(model.chat, tokenizer, model.chat_settings)
    _save_tokenizer(tokenizer, folder)
    for name, content in processor.items():
        (folder / name).write_bytes(content)


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:
        if type(error) is not Exception:  # the class that tokenizers has for a full disk
            raise
        raise OSError(f"{folder}: the tokenizer could not be written ({error}); is the disk full?") from None
