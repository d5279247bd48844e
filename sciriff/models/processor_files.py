"""Files of a model folder that say how pictures, films and sounds are prepared: servers refuse a family with towers
without them. Training leaves the towers alone, so the files of the base model stay true."""

import json
from pathlib import Path
from typing import Any

from sciriff.config import ModelConfig
from sciriff.run.user_error import UserError

NAMES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
"""Not the processor's own chat templates: the tokenizer's, which is saved, is that of `model.chat`."""
LARGEST = 1 << 20
"""Bytes; published ones have a few thousand."""
TEMPLATE = "chat_template"
"""Key of processor_config.json that would come before the saved chat template."""


def read(model: ModelConfig) -> dict[str, bytes]:
    """Return name and content of those that the model's folder or repository has.

    Each is copied byte for byte, unless it has a chat template, which is left out. UserError for one that is no plain
    file with a JSON object, or that the hub has and does not give.
    """
    if model.path is None:
        return {}
    folder = Path(model.path)
    find = _in_folder if folder.is_dir() else _on_hub
    return {name: _content(path) for name in NAMES if (path := find(model, name)) is not None}


def _in_folder(model: ModelConfig, name: str) -> Path | None:
    folder = Path(str(model.path))
    path = folder / name
    if not path.exists() and not path.is_symlink():
        return None
    allowed = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":  # of the hub's cache, whose files lie beside it
        allowed.append(folder.resolve().parent.parent / "blobs")
    target = path.resolve()
    if target.parent not in allowed or not target.is_file():
        raise UserError(f"{path} is not a plain file of its folder; remove it, or put the file itself there")
    return path


def _on_hub(model: ModelConfig, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(str(model.path), name, revision=model.revision))
    except LocalEntryNotFoundError:
        return None  # without a connection nobody knows whether there is one; the caller may notice that all lack
    except EntryNotFoundError:
        return None


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise UserError(
            f"{path} has {path.stat().st_size:,} bytes, and at most {LARGEST:,} are copied; is it what it says?"
        )
    content = path.read_bytes()
    try:
        values: Any = json.loads(content)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object, so no server could load the finished model; mend or remove it")
    if TEMPLATE not in values:
        return content
    return (json.dumps({k: v for k, v in values.items() if k != TEMPLATE}, indent=2) + "\n").encode()
