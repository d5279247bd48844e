"""The default name of a run: what a person typed, short enough for a folder and the same each time."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from sciriff.config import KNOWN_SOURCES, UNNAMED

SHORT = {
    "train.learning_rate": "lr",
    "seed": "s",
    "train.epochs": "ep",
    "train.global_batch_size": "bs",
    "merge.models": "",
    "merge.weights": "w",
}
"""Keys that the field abbreviates, or that their values tell; of others the last part stands in the name."""
LONGEST = 100
"""Bytes of a name; most file systems take 255, and log and table columns less."""
OF_ANY_RUN = re.compile(
    r"(model|adapter|checkpoints?|hf|final|last|latest|best|merged|weights|outputs?|results|predictions|mix|data|samples)"
    r"([-_]?\d+)?|step[-_]?\d+|(train|validation|test|mix)\.jsonl"
)
"""Names of files and folders that any run has, so that the parent's name is needed, too."""


def _plain(text: str) -> str:
    """A value as part of a folder name: paths by their last part, lists joined by plus signs."""
    text = "+".join(_last_part(part.strip()) for part in text.strip("[]'\"").split(","))
    return re.sub(r"[^\w.+-]+", "_", text)


def _last_words(key: str) -> str:
    """`weight` of `mix.sources.tulu.weight`; of a source of one's own with its name, `mine-weight`."""
    *sections, name = key.split(".")
    own = key.startswith("mix.sources.") and len(sections) == 3 and sections[-1] not in KNOWN_SOURCES
    return f"{sections[-1]}-{name}" if own else name


def _last_part(path: str) -> str:
    """`7b` of `models/7b`; of one that any run has with those before it: `lr1e-5-model` of `runs/lr1e-5/model`."""
    *before, last = [part for part in path.split("/") if part not in ("", ".", "..", "~")] or [path.strip("/")]
    kept = [last]
    while before and OF_ANY_RUN.fullmatch(kept[0]):
        kept.insert(0, before.pop())
    return "-".join(kept)


def typed_overrides(hydra: Any) -> list[str]:
    """The overrides that were typed, with `${...}` unresolved, from a composed config's section `hydra`."""
    typed: list[str] = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # type: ignore[assignment]
    return typed


def default_name(hydra: Any) -> str:
    """The name of a run from its section `hydra`; `${...}` in overrides counts as its value."""
    return run_name(list(hydra.overrides.task), hydra.runtime.choices)


def run_name(overrides: Sequence[str], choices: Mapping[str, str | None]) -> str:
    """Name a run after the overrides that were typed (`group=option`, `key=value`) and the options that are in force:
    `llama2_7b-scitulu-lr1e-5-s2`. The experiment, or else model and mix, come first, or the folder of `predictions`
    where no model is named; the rest follows in alphabetical order."""
    pairs = (override.partition("=")[::2] for override in overrides)
    typed = {key.lstrip("+~"): value for key, value in pairs}
    experiment = typed.pop("experiment", "null")
    named = ["model", "mix"]
    parts = []
    if experiment != "null":
        parts = [experiment]
        named = [group for group in named if group in typed]
    elif "predictions" in typed and not {"model", "mix"} & set(typed):  # answers of another tool, of no model here
        parts = [_plain(typed.pop("predictions")).strip(".") or "predictions"]
        named = []
    if choices.get("train") == "none":
        named = [group for group in named if group != "mix"]
    parts += [str(typed.get(group, choices.get(group))) for group in named]
    typed = {key: value for key, value in typed.items() if key not in ("model", "mix")}
    if choices.get("merge") not in (None, "none"):
        typed.pop("train", None)  # it can only be none
    if typed.get("train") == "none":
        typed["train"] = "untrained"
        if experiment == "null":
            del typed["train"]
    for key in sorted(typed):
        if any(key == other or key.startswith(other + ".") for other in (*UNNAMED, "hydra")):
            continue
        if key in choices:
            parts.append(_plain(typed[key]))
        elif key in SHORT:
            parts.append(SHORT[key] + _plain(typed[key]))
        else:
            parts.append(f"{_last_words(key)}-{_plain(typed[key])}")
    name = "-".join(_plain(part) for part in parts)
    if len(name.encode()) > LONGEST:
        kept = name.encode()[: LONGEST - 9].decode(errors="ignore")
        name = f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name
