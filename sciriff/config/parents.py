"""What a merged model has from its parents: the folder of each, and what its run's config says of its markup."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sciriff.config.files import read
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

OF_RUN = ("chat", "chat_arguments", "chat_date", "dtype", "license", "thinking")
"""Keys of `model` that a merged model has from the run that made its first parent."""
DTYPES = ("bfloat16", "float16", "float32")
LARGEST = 4 * 2**20
"""Bytes of a config.json."""


@dataclass(frozen=True)
class Parent:
    """One of `merge.models`, or `merge.base`."""

    key: str
    path: str
    """As it was typed: a run folder, a model folder or a hub id."""
    folder: Path | None
    """The model folder; None for a hub id that was not downloaded yet, and for what is not there."""
    run: Path | None = None
    """The folder of the run that made it, if that is known."""
    made_with: dict[str, Any] = field(default_factory=dict)
    """The keys OF_RUN of that run's `model`, those that have a value."""

    def __str__(self) -> str:
        return f"{self.key}={self.path}"


def parent(key: str, path: str) -> Parent:
    """Find the model folder of a run, and the run of a model folder. Reads no file but the run's config; one that is
    damaged counts as none."""
    place = Path(path).expanduser()
    if not place.is_dir():
        return Parent(key, path, None)
    run = next((one for one in (place, place.absolute().parent) if RunDir(one).config.is_file()), None)
    if run is None or place.absolute() not in (run.absolute(), RunDir(run).model.absolute()):
        return Parent(key, path, place)
    return Parent(key, path, RunDir(run).model, run, _made_with(run))


def _made_with(run: Path) -> dict[str, Any]:
    try:
        model = read(RunDir(run).config).get("model")
    except (UserError, OSError):
        return {}
    found = {key: model[key] for key in OF_RUN if model.get(key)} if isinstance(model, dict) else {}
    words = {key: value for key, value in found.items() if isinstance(value, str)}
    arguments = found.get("chat_arguments")
    return words | ({"chat_arguments": arguments} if isinstance(arguments, dict) else {})


def of_first_parent(key: str, *, _root_: DictConfig) -> Any:
    """Resolve `${parent:KEY}` in conf/model/merged.yaml: a key of `model` that the first of merge.models decides."""
    merge = _root_.get("merge")
    models = merge.get("models") if merge else None
    if not models:
        return {"chat": "tokenizer", "dtype": DTYPES[0], "chat_arguments": {}}.get(key)
    first = parent("merge.models[0]", str(models[0]))
    if key == "path":
        return first.path if first.folder is None else str(first.folder)
    if key in first.made_with:
        return first.made_with[key]
    if key == "dtype":
        return _stored_dtype(first.folder)
    return {"chat": "tokenizer", "chat_arguments": {}}.get(key)


def _stored_dtype(folder: Path | None) -> str:
    """The type that the config.json of a folder names; bfloat16 without any."""
    values = plain_json(folder / "config.json") if folder else {}
    named = values.get("dtype") or values.get("torch_dtype")
    return named if named in DTYPES else DTYPES[0]


def plain_json(path: Path, largest: int = LARGEST) -> dict[str, Any]:
    """The values of a JSON object in a file; empty for what is none, or larger than `largest` bytes."""
    try:
        if not path.is_file() or path.stat().st_size > largest:  # a pipe or a device would be read without end
            return {}
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
