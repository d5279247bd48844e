"""Weights as a checkpoint stores them: none may be missing, and quantised ones are restored before they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NAMED = 3
"""Weights that a message names."""
NOT_RESTORED = (
    *("aqlm", "auto-round", "awq", "bitnet", "bitsandbytes", "eetq", "fbgemm_fp8", "fp_quant", "gptq", "higgs", "hqq"),
    *("quanto", "quark", "sinq", "spqr", "torchao", "vptq"),
)
"""Formats of quantised weights that transformers 5.24 cannot restore; what it can is asked when a model is loaded."""


def restore_before_training(config: PretrainedConfig, source: str, *, in_four_bits: bool) -> None:
    """Let a quantised checkpoint's weights be restored while they are read, to the type that training computes in.

    `config` is the model's, whose `quantization_config` is changed; with `in_four_bits` they are for QLoRA, which
    quantises by itself and takes no others than its own. UserError for a format that transformers cannot restore.
    """
    from transformers.quantizers.auto import AutoQuantizationConfig

    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return
    values = dict(stored) if isinstance(stored, Mapping) else stored.to_dict()
    if in_four_bits and values.get("load_in_4bit"):
        return
    if reason := cannot_be_restored(values, source, in_four_bits=in_four_bits):
        raise UserError(reason)
    try:
        known = AutoQuantizationConfig.from_dict(values)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError):
        known = None
    if not hasattr(known, "dequantize"):
        raise UserError(_unrestorable(values, source))
    config.quantization_config = {**values, "dequantize": True}


def cannot_be_restored(stored: Mapping[str, Any], source: str, *, in_four_bits: bool) -> str | None:
    """Return why weights of this `quantization_config` cannot be trained, by what is known without transformers; None
    if they can, or if that is not known."""
    if in_four_bits:
        if stored.get("load_in_4bit"):
            return None
        return f"{_what(stored, source)}, and train=qlora quantises by itself: choose {_without_quantising(stored)}"
    return _unrestorable(stored, source) if stored.get("quant_method") in NOT_RESTORED else None


def _without_quantising(stored: Mapping[str, Any]) -> str:
    before = "the model as it was before"
    return before if stored.get("quant_method") in NOT_RESTORED else f"train=lora, or {before}"


def _unrestorable(stored: Mapping[str, Any], source: str) -> str:
    own = stored.get("load_in_4bit")
    fix = "train=qlora trains adapters beside them" if own else "train the model as it was before"
    return f"{_what(stored, source)}, which cannot be restored for training: {fix}"


def _what(stored: Mapping[str, Any], source: str) -> str:
    method = shortened(visible_line(str(stored.get("quant_method", "an unknown method"))), 100)
    return f"model.path={source} has weights quantised by {method}"


def no_model_folder(folder: Path) -> str:
    """Return what a folder without config.json is, as the end of a sentence that begins with its name."""
    if not (folder / "adapter_config.json").is_file():
        return "has no config.json, so it is not a Hugging Face model folder"
    merged = folder.absolute().parent / "model"
    if (merged / "config.json").is_file():
        return f"is an adapter: its merged model is in {merged}"
    return "is an adapter without the model that it belongs to: merge it into that, and name the merged model"


def refuse_missing(source: str, loading: Mapping[str, Any]) -> None:
    """UserError if weights of the model are not in its files: transformers draws them at random and goes on.

    `loading` is what `from_pretrained` tells of the names that it has read.
    """
    missing = sorted(loading.get("missing_keys", ()))
    other_shape = sorted(str(entry[0]) for entry in loading.get("mismatched_keys", ()))
    if not missing and not other_shape:
        return
    names = missing or other_shape
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    how = "are not in its files" if missing else "have another shape in its files"
    raise UserError(
        f"model.path={source}: {', '.join(names[:NAMED])}{more} {how}, and would be random numbers: is the folder "
        "whole, and is its config.json of this model?"
    )
