"""The shape of a model that was not typed: of the run that is resumed, else read from its config.json by a child.

The driver loads no transformers, which alone knows what a config.json means.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from sciriff.config import Config, ShapeConfig, read, shape_of_values
from sciriff.models.stored_formats import NO_MODEL, is_no_model
from sciriff.run.digest import file_digest
from sciriff.run.messages import say
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

READ = (sys.executable, "-m", "sciriff.models.read_shape")
PATIENCE = 300
"""Seconds to wait for a child: it imports transformers, from a network file system maybe, and asks the hub."""
LONGEST = 300
"""Characters of a child's own error that are shown."""
BY_HAND = "model.shape={layers: N, hidden: N, intermediate: N, heads: N, kv_heads: N, vocabulary: N, context: N}"
NEED_IT = {"train", "predict"}
"""Stages that load a model, and are planned by its size."""


def with_shape(config: Config, context: int | None = None) -> Config:
    """The config with the shape of its model, and in it the `context` that was typed, if it was. UserError where there
    is none to read."""
    model = config.model
    if model.shape is not None or model.api is not None:
        return config
    answers_only = config.train.method == "none" and config.eval.model is not None
    key, source = ("eval.model", config.eval.model) if answers_only else ("model.path", model.path)
    assert source is not None, "ModelConfig refuses a model with neither path nor shape"
    shape = _of_this_run(config, source)
    if shape is None and not NEED_IT & set(config.active_stages):
        return config
    if shape is None:
        shape = read_shape(key, source, None if answers_only else model.revision, config)
    return replace(config, model=replace(model, shape=replace(shape, context=context or shape.context)))


def answering_shape(config: Config) -> ShapeConfig | None:
    """The shape of the model that answers; None where that is an `eval.model` which is no local folder, or cannot be
    read."""
    model, other = config.model, config.eval.model
    if other is None or (config.train.method == "none" and model.shape and model.shape.read_from):
        return model.shape
    if not Path(other).is_dir():
        return None
    try:
        return read_shape("eval.model", other, None, config)
    except UserError:  # the stage itself will say why
        return None


def _of_this_run(config: Config, source: str) -> ShapeConfig | None:
    """The shape in the config of the run that is resumed, unless its model has another config.json by now."""
    frozen = RunDir(Path(config.run_dir)).config
    if not frozen.is_file():
        return None
    try:
        before = read(frozen)
        model, answering = before.get("model") or {}, before.get("eval") or {}
        same = (model.get("path"), model.get("revision"), answering.get("model"))
        if same != (config.model.path, config.model.revision, config.eval.model):
            return None
        shape = shape_of_values(model.get("shape"))
    except (UserError, AttributeError):  # the run itself will say so
        return None
    about = Path(source) / "config.json"
    if shape is not None and shape.read_from and about.is_file() and file_digest(about) != shape.read_from:
        return None
    return shape


def read_shape(key: str, source: str, revision: str | None, config: Config) -> ShapeConfig:
    """Read the shape of a folder or hub id, the value of `key`, once in this process; what was found is kept in
    cache_dir. UserError says in one line why it cannot be read, and what to do."""
    if is_no_model(source):
        raise UserError(f"{key}={source} {NO_MODEL}")
    about = Path(source) / "config.json"
    state = (about.stat().st_mtime_ns, about.stat().st_size) if about.is_file() else None
    answer = _read(READ, key, source, revision, config.model.trust_remote_code, config.cache_dir, state)
    shape = shape_of_values(answer)
    assert shape is not None
    return shape


@cache
def _read(
    command: Sequence[str], key: str, source: str, revision: str | None, trust: bool, kept: str, state: Any
) -> Any:
    """The keys of a shape that the child found. `state` is that of a local config.json, which may be another later."""
    asked = {"source": source, "revision": revision, "trust_remote_code": trust, "cache_dir": kept}
    try:
        result = subprocess.run(
            command,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{key}={source}: its config.json was not read within {PATIENCE} s: is the hub or disk slow, or are its "
            f"numbers absurd? Start again, or give the shape: {BY_HAND}"
        ) from None
    try:
        answer = json.loads(result.stdout)
        shape, problem, notes = answer["shape"], answer["problem"], answer["notes"]
    except (ValueError, LookupError, TypeError):
        said = [line for line in result.stderr.splitlines() if line.strip()]
        last = shortened(visible_line(said[-1].strip()), LONGEST) if said else f"status {result.returncode}"
        raise UserError(
            f"{key}={source}: no model can be built of its config.json ({last}); if it is right, give the shape: "
            f"{BY_HAND}"
        ) from None
    for note in notes:
        say(f"{key}={source}: {note}")
    if problem is not None:
        raise UserError(f"{key}={source}{problem}".replace("SHAPE", BY_HAND))
    return shape
