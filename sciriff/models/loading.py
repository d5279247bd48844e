"""Load a model and its tokenizer, from a folder, from the hub, or built on the spot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sciriff.config import ModelConfig
from sciriff.run import known_errors
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerFast:
    """The tokenizer of `model.tokenizer`, or of `model.path`. UserError where there is none, naming what to do."""
    from transformers import AutoTokenizer

    place = model.tokenizer or model.path
    assert place is not None, "ModelConfig refuses a model with neither"
    key = "model.tokenizer" if model.tokenizer else "model.path"
    _check_place(key, place)
    if Path(place).is_dir() and not any((Path(place) / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(f"{key}={place} has no tokenizer.json; name a tokenizer: model.tokenizer=FOLDER_OR_HUB_ID")
    try:
        return AutoTokenizer.from_pretrained(
            place, revision=_revision(model, place), trust_remote_code=model.trust_remote_code, use_fast=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{key}={place}: {_reason(place, error)}") from None


def load_config(model: ModelConfig) -> PretrainedConfig:
    """What the model of `model.path` says of itself, without its weights. UserError as `load_model`."""
    from transformers import AutoConfig

    place = model.path
    assert place is not None, "a model that is built on the spot has no files"
    _check_place("model.path", place)
    if Path(place).is_dir() and not (Path(place) / "config.json").is_file():
        raise UserError(f"model.path={place} has no config.json, so it is not a Hugging Face model folder")
    try:
        return AutoConfig.from_pretrained(place, revision=model.revision, trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model.path={place}: {_reason(place, error)}") from None


def load_model(
    model: ModelConfig,
    *,
    seed: int,
    dtype: torch.dtype,
    attention: str = "sdpa",
    four_bits_on: torch.device | None = None,
) -> PreTrainedModel:
    """The causal language model of `model.path` with weights of type `dtype`, on the CPU.

    Without a path, a Llama of `model.shape` whose random weights are a function of `seed` alone. `attention` is one of
    transformers' implementations: sdpa, flash_attention_2, eager. With `four_bits_on` all linear layers but the head
    are read, one after another, into four bits on that device. UserError names what cannot be loaded and why.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(model)
    if model.path is None:
        llama = _random_llama(model, tokenizer, seed=seed, dtype=dtype, attention=attention)
        if four_bits_on is None:
            return llama
        with TemporaryDirectory() as folder:  # weights become four bits while they are read
            llama.config.save_pretrained(folder)
            save_model(llama, str(Path(folder) / "model.safetensors"), {"format": "pt"})  # on every rank
            there = replace(model, path=folder)
            return load_model(there, seed=seed, dtype=dtype, attention=attention, four_bits_on=four_bits_on)
    config = load_config(model)
    place = model.path
    _check_vocabulary(f"model.path={place}", config, tokenizer)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            place,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            **({} if four_bits_on is None else _four_bits(dtype, four_bits_on)),
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise UserError(f"model.path={place}: {_reason(place, error)}") from None
    if four_bits_on is not None:
        for module in loaded.modules():
            # On some CPUs bitsandbytes turns a layer's weights, in a pass without gradients, into a form of lower
            # precision for which it has no gradients: training would go on without those of all layers below.
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    return loaded


def _four_bits(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What transformers must be told to keep weights as QLoRA does (Dettmers et al. 2023, arXiv 2305.14314): NF4 in
    blocks of 64, whose scales are quantised too, 4.13 bits a weight; multiplied in `dtype`."""
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": quantization, "device_map": {"": device}}


def _random_llama(
    model: ModelConfig, tokenizer: PreTrainedTokenizerFast, *, seed: int, dtype: torch.dtype, attention: str
) -> PreTrainedModel:
    import torch
    from transformers import LlamaForCausalLM

    config = llama_config(model, tokenizer, attention)
    _check_vocabulary("model.shape", config, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).to(dtype)


def llama_config(model: ModelConfig, tokenizer: PreTrainedTokenizerFast, attention: str) -> PretrainedConfig:
    """What a Llama of `model.shape` with this tokenizer says of itself."""
    from transformers import LlamaConfig

    shape = model.shape
    assert shape is not None, "ModelConfig refuses weights without one"
    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_width,
        max_position_embeddings=shape.context,
        tie_word_embeddings=shape.tied_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation=attention,
    )


def _check_vocabulary(what: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = config.get_text_config().vocab_size
    needed = max(tokenizer.get_vocab().values()) + 1
    if rows < needed:
        raise UserError(
            f"{what} has embeddings for {rows} tokens, and its tokenizer makes {needed}; "
            + ("set model.shape.vocabulary to that" if what == "model.shape" else "model.tokenizer names another one")
        )


def _check_place(key: str, place: str) -> None:
    """Refuse what can only be meant as a folder and is none: the hub's own message for it speaks of repository ids."""
    looks_local = place.startswith(("/", "./", "../", "~")) or place.count("/") > 1
    if looks_local and not Path(place).is_dir():
        raise UserError(f"{key}={place}: there is no such folder")


def _revision(model: ModelConfig, place: str) -> str | None:
    """`model.revision` belongs to `model.path`; a tokenizer from elsewhere has its own history."""
    return model.revision if place == model.path else None


def _reason(place: str, error: BaseException) -> str:
    """One line for a person: why a folder or hub id could not be loaded, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    for cause in (error, error.__cause__, error.__context__):
        match cause:
            case GatedRepoError():
                return f"is gated; ask for access at https://huggingface.co/{place}, then `hf auth login`"
            case RepositoryNotFoundError():
                return "is neither a folder here nor on the hub; if it is private, `hf auth login` first"
            case RevisionNotFoundError():
                return "has no such revision on the hub; see model.revision"
            case LocalEntryNotFoundError():
                return "is not a folder here nor in the hub's cache, and the hub cannot be reached; download it first"
    if known_errors.NEEDS_REMOTE_CODE.search(error):
        return "runs Python code of its own; if you have read it and trust it, set model.trust_remote_code=true"
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"cannot be loaded ({type(error).__name__}: {first_line})"
