"""What decides which rows a mix has, and the keys under which the cache has what is made of them."""

from collections.abc import Callable
from typing import Any, TypeVar

from sciriff.config import Config, EvalConfig, MixSourceConfig, SourceConfig
from sciriff.data.mix_card import OWN_HELD_OUT
from sciriff.data.source_files import HUB_KEYS, source_digest, source_files, validation_split
from sciriff.mix.build import is_finished
from sciriff.mix.near_duplicates import asked_for, rules_digest
from sciriff.mix.overlap_check import evaluation_digest
from sciriff.mix.row_forms import row_forms
from sciriff.mix.used_sources import used_sources
from sciriff.run.digest import value_digest

T = TypeVar("T")

LAYOUT = 3
"""Version of the cache; raise it when the same recipe and sources give other rows, tokens or another card."""

ROW_FILTERS = ("per_task", "tulu", "tasks", "families", "domains", "include_heldout")
RECIPE = (*ROW_FILTERS, "context_window", "truncate", "take", "seed")
"""Settings of MixConfig that choose among the rows of the sources."""

TOTALS = ("tokens", "rows")
"""Likewise, but in no recipe where there are none."""

WATCHED_WITHOUT = "validation_without_text_of"
"""Key of the recipe: digest of the evaluation prompts whose text no validation row has."""


def recipe_of(config: Config) -> dict[str, Any]:
    """Everything that decides which rows a mix has: the contents of its sources, and settings."""
    mix = config.mix
    used = used_sources(mix)
    recipe: dict[str, Any] = {
        "sources": {name: _provenance(name, source) for name, source in used.items()},
        "on_bad_row": mix.on_bad_row,
    }
    if not is_finished(mix):
        recipe |= {name: getattr(mix, name) for name in RECIPE}
        recipe |= {name: value for name in TOTALS if (value := getattr(mix, name)) is not None}
        if mix.near_duplicates == "drop":
            with asked_for("drop"):
                recipe["without_near_duplicates"] = rules_digest()
        if mix.validation_rows:
            splits = {name: validation_split(source) for name, source in used.items()}
            recipe["validation_splits"] = {name: source_digest(split) for name, split in splits.items() if split}
    if mix.overlap == "drop":  # report trains on the same rows as none
        recipe["without_text_of"] = evaluation_digest(config.eval)
    elif mix.overlap == "report" and mix.validation_rows and not is_finished(mix):
        recipe[WATCHED_WITHOUT] = of_evaluation(config, evaluation_digest)
    own = {OWN_HELD_OUT: sorted(config.eval.own_tasks)} if config.eval.own_tasks else {}
    return recipe | {"validation_rows": mix.validation_rows} | own


def of_evaluation(config: Config, make: Callable[[EvalConfig], T]) -> T | None:
    """Apply `make` to the evaluation; None if its prompts cannot be read and this run does not answer them."""
    try:
        return make(config.eval)
    except ValueError:
        if "predict" in config.active_stages:
            raise
        return None


def _provenance(name: str, source: SourceConfig) -> dict[str, Any]:
    """Digest, name on the hub and use of a source. A local path does not count: the same rows are the same mix. The
    names of files do where rows without an id are called after them."""
    keys: tuple[str, ...] = () if source.path is not None else HUB_KEYS
    if isinstance(source, MixSourceConfig):
        keys += ("weight", "epochs", "license")
    about = {"digest": source_digest(source), **{key: getattr(source, key) for key in keys}}
    about |= {key: value for key in ("kind", "rows", "columns", "filter") if (value := getattr(source, key, None))}
    if source.path is not None and row_forms(name, source):
        about["files"] = [path.name for path in source_files(source)]
    return about


def key(*parts: Any) -> str:
    """Name of a folder of the cache."""
    return value_digest([LAYOUT, *parts])[:32]
