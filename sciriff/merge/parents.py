"""The parents of a merged model, their files at hand: models on the hub are downloaded, small files first."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciriff.config import MergeConfig, ModelConfig
from sciriff.config.parents import Parent
from sciriff.models import mergeable
from sciriff.models.loading import load_config, reason_for
from sciriff.run.messages import show
from sciriff.run.user_error import UserError

SMALL = ("*.json", "*.model", "*.txt", "*.jinja", "README.md")
WEIGHTS = ("*.safetensors",)


def parents_at_hand(merge: MergeConfig, model: ModelConfig) -> list[Parent]:
    """The models, and the base last if there is one, each in a folder. UserError, before any weight is downloaded, for
    those whose configs, vocabularies or markups differ."""
    found = [_with_files(one, SMALL) for one in mergeable.parents_of(merge)]
    mergeable.refuse_other_configs(found)
    mergeable.refuse_other_vocabularies(found)
    mergeable.refuse_other_markups(found, model)
    _refuse_other_meaning(found, model)
    return [_with_files(one, WEIGHTS) if one.path != str(one.folder) else one for one in found]


def as_model(model: ModelConfig, one: Parent) -> ModelConfig:
    """The config of a parent as a model to load, with the markup of the merged one."""
    return replace(model, path=str(one.folder), tokenizer=None, revision=None)


def load_parent_config(model: ModelConfig, one: Parent) -> Any:
    """The transformers config of a parent. UserError names the parent."""
    try:
        return load_config(as_model(model, one))
    except UserError as error:
        raise UserError(f"{one}: {error}") from None


def _refuse_other_meaning(parents: Sequence[Parent], model: ModelConfig) -> None:
    """UserError where transformers, which fills in what a config.json leaves out, reads another model."""
    configs = [mergeable.flat_config(load_parent_config(model, one).to_dict()) for one in parents]
    for one, values in zip(parents[1:], configs[1:], strict=True):
        mergeable.refuse_difference(one, values, parents[0], configs[0], only_both=False)


def _with_files(one: Parent, patterns: Sequence[str]) -> Parent:
    """The parent with files of these names at hand."""
    if one.folder is not None and Path(one.path).exists():
        return one
    from huggingface_hub import snapshot_download

    show(f"{one}: {', '.join(patterns)}")
    try:
        folder = snapshot_download(one.path, allow_patterns=list(patterns))
    except (OSError, ValueError) as error:
        raise UserError(f"{one} {reason_for(one.path, error)}") from None
    return replace(one, folder=Path(folder))
