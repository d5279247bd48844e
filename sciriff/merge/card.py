"""README.md of a merged model: parents, shares, method, licences. It begins with YAML for the hub and names no path."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sciriff.config import Config, MergeConfig
from sciriff.config.files import read
from sciriff.config.parents import Parent
from sciriff.config.plain_yaml import written
from sciriff.merge.parents import as_model
from sciriff.models.license import license_of, named_license
from sciriff.results.markdown_table import code_kept, markdown_table
from sciriff.run import machine
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

HOW = {
    "linear": "Each weight is the mean of the models' weights (arXiv 2203.05482).",
    "slerp": "Each tensor lies on the arc between those of the two models (spherical linear interpolation, Shoemake "
    "1985, doi 10.1145/325165.325242), tensors that are nearly parallel on the line.",
    "ties": "Of each model's differences from the base the largest were kept, and added where their sign is that of "
    "the sum (TIES, arXiv 2306.01708).",
    "dare": "Of each model's differences from the base some were kept at random, divided by their share and added "
    "(DARE, arXiv 2311.03099).",
}
PACKAGES = ("python", "sciriff", "torch", "transformers")

_table = partial(markdown_table, escape=code_kept)


def page(config: Config, parents: Sequence[Parent]) -> str:
    """The Markdown card of RUN/model; the base is the last of `parents` if there is one."""
    merge, model = config.merge, config.model
    rows = [
        (name_of(one), f"{share:.4g}", *_made_from(one), _license(config, one) or "unknown")
        for one, share in zip(parents, merge.shares, strict=False)
    ]
    if merge.base is not None:
        rows.append(
            (name_of(parents[-1]), "base", *_made_from(parents[-1]), _license(config, parents[-1]) or "unknown")
        )
    facts = [
        ("method", merge.method),
        *_settings(merge),
        ("chat markup", model.chat),
        ("type of the weights", model.dtype),
    ]
    sections = [
        f"---\n{written(_front_matter(config, parents))}---",
        f"# {config.name}",
        f"{len(merge.models)} models merged with sciriff. {HOW[merge.method]} It loads with transformers and vLLM like "
        "any other model; its tokenizer is that of the first model, and renders the markup of their training.",
        _table(("model", "share", "trained from", "on the mix", "licence"), rows),
        _table(("", ""), facts),
        "## Versions",
        _table(("package", "version"), [pair for pair in machine.versions().items() if pair[0] in PACKAGES]),
    ]
    return "\n\n".join(sections) + "\n"


def name_of(one: Parent) -> str:
    """A hub id, the name of a run, or the last part of a folder's path."""
    if one.run is not None:
        return one.run.resolve().name
    return one.path if one.folder is None or not Path(one.path).exists() else one.folder.resolve().name


def _made_from(one: Parent) -> tuple[str, str]:
    """The model that a run trained, and its mix; dashes where that is not known."""
    try:
        values = read(RunDir(one.run).config) if one.run is not None else {}
    except (UserError, OSError):
        values = {}
    named = [values.get(section) for section in ("model", "mix")]
    found = [str(part["name"]) if isinstance(part, dict) and part.get("name") else "–" for part in named]
    return found[0], found[1]


def _settings(merge: MergeConfig) -> list[tuple[str, str]]:
    values = {"density": merge.density, "seed": merge.seed}
    return [(key, f"{value:g}") for key, value in values.items() if value is not None]


def _license(config: Config, one: Parent) -> str | None:
    alone = as_model(config.model, one)
    alone.license = one.made_with.get("license")
    return license_of(alone)


def _front_matter(config: Config, parents: Sequence[Parent]) -> dict[str, Any]:
    """The YAML head for the hub: a licence only where all parents have the same."""
    head: dict[str, Any] = {}
    if on_hub := [one.path for one in parents if not Path(one.path).exists()]:
        head |= {"base_model": on_hub, "base_model_relation": "merge"}
    head |= {"library_name": "transformers", "pipeline_tag": "text-generation"}
    licenses = {_license(config, one) for one in parents}
    if len(licenses) == 1 and (name := licenses.pop()) is not None:
        head |= named_license(name)
    return {**head, "tags": ["sciriff", "scientific-literature", "merge", config.merge.method]}
