"""Formats of quantised weights, and folders that are no model, by their files alone. Loads no framework."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciriff.run.visible import shortened, visible_line

NOT_RESTORED = (
    *("aqlm", "auto-round", "awq", "bitnet", "bitsandbytes", "eetq", "fbgemm_fp8", "fp_quant", "gptq", "higgs", "hqq"),
    *("quanto", "quark", "sinq", "spqr", "torchao", "vptq"),
)
"""Formats of quantised weights that transformers 5.24 cannot restore; what it can is asked when a model is loaded."""


NO_MODEL = "is neither an existing folder nor an id on the Hugging Face hub"


def cannot_be_restored(stored: Mapping[str, Any], source: str, *, in_four_bits: bool) -> str | None:
    """Return why weights of this `quantization_config` cannot be trained, by what is known without transformers; None
    if they can, or if that is not known."""
    if in_four_bits:
        if stored.get("load_in_4bit"):
            return None
        return f"{_what(stored, source)}, and train=qlora quantises by itself: choose {_without_quantising(stored)}"
    return unrestorable(stored, source) if stored.get("quant_method") in NOT_RESTORED else None


def _without_quantising(stored: Mapping[str, Any]) -> str:
    before = "the model as it was before"
    return before if stored.get("quant_method") in NOT_RESTORED else f"train=lora, or {before}"


def unrestorable(stored: Mapping[str, Any], source: str) -> str:
    """Return the line about weights that cannot be restored, and what to do."""
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


def is_no_model(path: str) -> bool:
    """Whether this is neither there nor the form of a hub id."""
    if Path(path).exists():
        return False
    return path.count("/") > 1 or path.startswith((".", "/", "~")) or _holds_models(Path(path).parent)


def _holds_models(folder: Path) -> bool:
    """Whether this is a folder of runs or models, and not the OWNER of a hub id."""
    return folder != Path() and any(next(folder.glob(f"*/config.{end}"), None) for end in ("yaml", "json"))
