"""Weights as a checkpoint stores them: none may be missing, and quantised ones are restored before they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sciriff.models.stored_formats import cannot_be_restored, unrestorable
from sciriff.run.user_error import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NAMED = 3
"""Weights that a message names."""


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
        raise UserError(unrestorable(values, source))
    config.quantization_config = {**values, "dequantize": True}


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
