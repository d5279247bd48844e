"""Load a model and its tokenizer from a folder or the hub, or build a random model."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sciriff.config import ModelConfig
from sciriff.models.stored_formats import no_model_folder
from sciriff.models.stored_weights import refuse_missing, restore_before_training
from sciriff.models.towers import towers
from sciriff.run import known_errors
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerFast:
    """Return the tokenizer of `model.tokenizer`, or of `model.path`. UserError says what is missing and what to do."""
    source = model.tokenizer or model.path
    assert source is not None, "ModelConfig refuses a model with neither"
    revision = model.revision if source == model.path else None  # a tokenizer from elsewhere has its own
    key = "model.tokenizer" if model.tokenizer else "model.path"
    return read_tokenizer(source, key, "model.tokenizer", revision, model.trust_remote_code)


def read_tokenizer(
    source: str, key: str, otherwise: str, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a folder or hub id, the value of `key`. UserError says what is missing and what to do,
    such as to give the key `otherwise`."""
    from transformers import AutoTokenizer

    _check_folder(key, source)
    if Path(source).is_dir() and not any((Path(source) / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(f"{key}={source} has no tokenizer.json; name a tokenizer: {otherwise}=FOLDER_OR_HUB_ID")
    try:
        return AutoTokenizer.from_pretrained(
            source, revision=revision, trust_remote_code=trust_remote_code, use_fast=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{key}={source}: {reason_for(source, error)}") from None


def load_config(model: ModelConfig) -> PretrainedConfig:
    """Return the transformers config of `model.path`, without its weights. UserError as `load_model`."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    source = model.path
    assert source is not None, "a model that is built on the spot has no files"
    _check_folder("model.path", source)
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise UserError(f"model.path={source} {no_model_folder(Path(source))}")
    try:
        return AutoConfig.from_pretrained(source, revision=model.revision, trust_remote_code=model.trust_remote_code)
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        StrictDataclassError,
    ) as error:
        raise UserError(f"model.path={source}: {reason_for(source, error)}") from None


def load_model(
    model: ModelConfig,
    *,
    seed: int,
    dtype: torch.dtype,
    attention: str | None = None,
    four_bits_on: torch.device | None = None,
    trains: bool = False,
) -> PreTrainedModel:
    """Return the causal language model of `model.path` with weights of type `dtype`, on the CPU.

    Without a path, returns a Llama of `model.shape` whose random weights depend on `seed` alone. `attention` is a
    transformers implementation (sdpa, flash_attention_2, eager); None is SDPA, or eager where a family has none. With
    `four_bits_on` all linear layers but the head are quantised to four bits on that device; else a model that `trains`
    has no quantised weights, whatever its files have. UserError names what cannot be loaded and why, a weight that is
    not in the files too.
    """
    from safetensors.torch import save_model

    tokenizer = load_tokenizer(model)
    if model.path is None:
        llama = _random_llama(model, tokenizer, seed=seed, dtype=dtype, attention=attention or "sdpa")
        if four_bits_on is None:
            return llama
        with TemporaryDirectory() as folder:  # weights are quantised while they are read from files
            llama.config.save_pretrained(folder)
            save_model(llama, str(Path(folder) / "model.safetensors"), {"format": "pt"})  # on every rank
            return _from_files(replace(model, path=folder), tokenizer, dtype, attention or "sdpa", four_bits_on, trains)
    if attention is not None:
        return _from_files(model, tokenizer, dtype, attention, four_bits_on, trains)
    try:  # never transformers' own choice: config.json may name a kernel, which it would download and run
        return _from_files(model, tokenizer, dtype, "sdpa", four_bits_on, trains)
    except UserError as error:
        if not known_errors.NO_SDPA.search(error):
            raise
    return _from_files(model, tokenizer, dtype, "eager", four_bits_on, trains)


def _from_files(
    model: ModelConfig,
    tokenizer: PreTrainedTokenizerFast,
    dtype: torch.dtype,
    attention: str,
    four_bits_on: torch.device | None,
    trains: bool,
) -> PreTrainedModel:
    """Load what `load_model` returns from the files of a folder or the hub."""
    from safetensors import SafetensorError

    config = load_config(model)
    source = model.path
    assert source is not None, "a model that is built on the spot has no files"
    _refuse_adapter(model, source)
    _check_vocabulary(f"model.path={source}", config, tokenizer)
    if trains:
        restore_before_training(config, source, in_four_bits=four_bits_on is not None)
    try:
        left_whole = None if four_bits_on is None else _left_whole(config, model)
        loaded, names = auto_class(config).from_pretrained(
            source,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `refuse_missing` names them
            **({} if four_bits_on is None else _four_bits(dtype, four_bits_on, left_whole)),
        )
    except UnpicklingError:
        raise UserError(
            f"model.path={source}: its pickled weights hold more than tensors, and reading that may run code: convert "
            "them to safetensors, or choose a revision that has some"
        ) from None
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise UserError(f"model.path={source}: {reason_for(source, error)}") from None
    refuse_missing(source, names)
    if four_bits_on is not None:
        for module in loaded.modules():
            # On some CPUs, a pass without gradients makes bitsandbytes repack a layer's weights into a form for which
            # it has no backward: training would continue without the gradients of all layers below.
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    return loaded


def auto_class(config: PretrainedConfig) -> Any:
    """Return the class of transformers that loads the model of this config whole, with the towers that it may have.

    AutoModelForCausalLM would take the language model alone out of some families' checkpoints, and has no others. What
    is trained from it could not be served as the family is.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    text_only = transformers.AutoModelForCausalLM
    own_code = getattr(config, "auto_map", None)
    # A model that reads a text apart from the one it writes is refused by its own line.
    if getattr(config, "is_encoder_decoder", False):
        return text_only
    if config.get_text_config() is config or (isinstance(own_code, dict) and "AutoModelForCausalLM" in own_code):
        return text_only
    # The wider one is newer than the lowest version supported.
    for name, mapping in (
        ("AutoModelForMultimodalLM", "MODEL_FOR_MULTIMODAL_LM_MAPPING"),
        ("AutoModelForImageTextToText", "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING"),
    ):
        known = getattr(modeling_auto, mapping, {})
        if type(config) not in known:
            continue
        own_names = {name for name in config.architectures or () if isinstance(name, str)}
        whole = known[type(config)]
        names = {kind.__name__ for kind in (whole if isinstance(whole, list | tuple) else (whole,))}
        if not own_names or own_names & names or type(config) not in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING:
            return getattr(transformers, name)
    return text_only


def _refuse_adapter(model: ModelConfig, source: str) -> None:
    """Refuse a model with an adapter_config.json, which transformers hands to peft, and peft imports what it names."""
    from transformers.utils.peft_utils import find_adapter_config_file

    if not model.trust_remote_code and find_adapter_config_file(source, revision=model.revision) is not None:
        raise UserError(
            f"model.path={source} has an adapter_config.json, which may name Python code to run: merge the adapter "
            "first; or if you have read and trust it, set model.trust_remote_code=true"
        )


def _left_whole(config: PretrainedConfig, model: ModelConfig) -> list[str] | None:
    """Return the modules of a model with towers that are not quantised: these, which a finished model is to have as
    they were, and the head. None for a model of text alone, of which transformers leaves the head."""
    import torch

    with torch.device("meta"):
        kind = auto_class(config)
        empty = kind.from_config(
            deepcopy(config), attn_implementation="eager", trust_remote_code=model.trust_remote_code
        )
    found = towers(empty)
    head = empty.get_output_embeddings()
    return found + [name for name, module in empty.named_modules() if module is head] if found else None


def _four_bits(dtype: torch.dtype, device: torch.device, left_whole: list[str] | None) -> dict[str, Any]:
    """Return the arguments with which transformers quantises as QLoRA does (Dettmers et al. 2023, arXiv 2305.14314):
    NF4 in blocks of 64, whose scales are quantised too, 4.13 bits per weight; multiplied in `dtype`."""
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=left_whole,
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
    """Return the transformers config of a Llama of `model.shape` with this tokenizer."""
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


def _check_vocabulary(source: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = config.get_text_config().vocab_size
    needed = max(tokenizer.get_vocab().values()) + 1
    if rows < needed:
        own = "set model.tokenizer to its own tokenizer"
        fix = "set model.shape.vocabulary to that" if source == "model.shape" else own
        raise UserError(f"{source} has embeddings for {rows} tokens, and its tokenizer makes {needed}; {fix}")


def _check_folder(key: str, source: str) -> None:
    """Refuse a missing folder: the hub's own message for it is about repository ids."""
    looks_local = source.startswith(("/", "./", "../", "~")) or source.count("/") > 1
    if looks_local and not Path(source).is_dir():
        raise UserError(f"{key}={source}: there is no such folder")


def reason_for(source: str, error: BaseException) -> str:
    """Return in one line why a folder or hub id could not be loaded, and what to do."""
    from huggingface_hub import errors

    reasons = {  # in this order: a gated repository's error is one of a missing repository too
        errors.GatedRepoError: f"is gated; ask for access at https://huggingface.co/{source}, then `hf auth login`",
        errors.RepositoryNotFoundError: "is neither a local folder nor on the hub; if private, `hf auth login` first",
        errors.RevisionNotFoundError: "has no such revision on the hub; see model.revision",
        errors.LocalEntryNotFoundError: "is neither a local folder nor in the hub's cache, and the hub cannot be "
        "reached; download it first",
    }
    for cause in (error, error.__cause__, error.__context__):
        for kind, reason in reasons.items():
            if isinstance(cause, kind):
                return reason
    if known_errors.NEEDS_REMOTE_CODE.search(error):
        return "runs its own Python code; if you have read and trust it, set model.trust_remote_code=true"
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"cannot be loaded ({type(error).__name__}: {first_line})"
