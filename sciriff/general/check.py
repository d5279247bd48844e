"""Say before a run starts what its general tasks lack: `python -m sciriff.general.check` reads a config as JSON and
prints a problem a line. In a process of its own, since the driver loads no lm-eval."""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciriff.config import Config, GeneralConfig, from_plain
from sciriff.general import datasets_at_hand
from sciriff.general.loaded_tasks import load_tasks, quiet
from sciriff.general.sentence_model import has_punkt
from sciriff.general.task_index import (
    FIRST_FILTER,
    LIKELIHOODS,
    LeafFile,
    entries_of,
    forbidden,
    leaves,
    samples,
    task_manager,
    unknown_keys,
)
from sciriff.run.messages import show
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

WITHOUT_QUESTION = "acc_mutual_info"
"""Metric that compares the choices once more without the question."""


def main() -> int:
    config = from_plain(json.load(sys.stdin))
    quiet()
    try:
        for problem in problems(config):
            show(problem)
    except UserError as error:
        show(error)
    return 0


def problems(config: Config) -> Iterator[str]:
    """Why the general tasks cannot be asked or scored here, one line each. UserError for a name that is none."""
    general = config.general
    manager = task_manager(general)
    found = list(leaves(general, manager))
    yield from unknown_keys(general, found, manager)
    yield from forbidden(found, general)
    yield from _not_measured(found, asks=config.engine.asks)
    yield from _unknown_metrics(found, general)
    yield from _too_long(found, config)
    yield from _missing_punkt(found)
    yield from _missing_data([leaf for leaf in found if not leaf.own_files], config)
    lacking = list(_missing_files([leaf for leaf in found if leaf.own_files], config))
    yield from lacking
    if not lacking:
        yield from _broken(found, manager, config)


def _broken(found: Sequence[LeafFile], manager: Any, config: Config) -> Iterator[str]:
    """Tasks of one's own that lm-eval cannot use: it fills in their templates for the first document. Those that it
    brings take long to load, and are known to work."""
    general = config.general
    inside = [Path(folder).resolve() for folder in general.include]
    names = []
    for name in dict.fromkeys(leaf.asked for leaf in found):
        entry = manager.task_index.get(name)
        path = entry.yaml_path.resolve() if entry and entry.yaml_path else None
        if path and any(path.is_relative_to(folder) for folder in inside):
            names.append(name)
    mine = [leaf for leaf in found if leaf.asked in names]
    if mine and not [*_missing_data([leaf for leaf in mine if not leaf.own_files], config), *forbidden(mine, general)]:
        with datasets_at_hand.reading(general, config.cache_dir):
            for name in names:
                try:
                    load_tasks(replace(general, tasks=[name]))
                except UserError as error:
                    yield str(error)


def _not_measured(found: Sequence[LeafFile], *, asks: bool) -> Iterator[str]:
    for name in entries_of(leaf for leaf in found if leaf.about.get("doc_to_image")):
        yield f"general.tasks: {name} needs images, which are not measured here; leave it out"
    for name in entries_of(leaf for leaf in found if leaf.kind not in (*LIKELIHOODS, "generate_until")):
        yield f"general.tasks: {name} needs the likelihood of whole texts, which is not measured here; leave it out"
    for name in entries_of(leaf for leaf in found if leaf.kind == "generate_until" and samples(leaf.generation)):
        yield (
            f"general.tasks: {name} draws its answers at a temperature, and general tasks are answered greedily here; "
            "leave it out"
        )
    texts = [leaf for leaf in found if not leaf.has_letters or WITHOUT_QUESTION in leaf.metrics]
    for name in entries_of(leaf for leaf in texts if asks and leaf.kind in LIKELIHOODS):
        yield (
            f"general.tasks: {name} compares likelihoods of texts, which a server does not give; leave it out (tasks "
            "whose choices are letters are asked for the letter)"
        )


def _unknown_metrics(found: Sequence[LeafFile], general: GeneralConfig) -> Iterator[str]:
    for leaf in {leaf.asked: leaf for leaf in reversed(found)}.values():
        metric, _, chosen = (general.of(general.metrics, leaf.asked, *leaf.names) or "").partition(",")
        if metric and leaf.metrics and metric not in leaf.metrics:
            yield f"general.metrics: {leaf.asked} has no metric {metric}; it has {', '.join(leaf.metrics)}"
        elif chosen and chosen not in leaf.filters:
            known = ", ".join(leaf.filters) if leaf.filters != [FIRST_FILTER] else "none"
            yield f"general.metrics: {leaf.asked} has no filter {chosen}; it has {known}"


def _too_long(found: Sequence[LeafFile], config: Config) -> Iterator[str]:
    """Answers that alone fill the context."""
    context = config.answering_model.context
    longest: dict[str, int] = {}
    for leaf in found:
        limit = config.general.longest_answer(leaf.longest_answer) + config.thinking_tokens
        if limit >= context:
            longest[leaf.asked] = max(limit, longest.get(leaf.asked, 0))
    key = "model.api.context" if config.model.api else "model.shape.context"
    for name, limit in longest.items():
        yield (
            f"general.tasks: answers to {name} may have {limit:,} tokens, and the model takes {context:,} with the "
            f"prompt: lower general.max_new_tokens, leave {name} out, or raise {key} if the model takes more"
        )


def _missing_punkt(found: Sequence[LeafFile]) -> Iterator[str]:
    if not any("ifeval" in leaf.name for leaf in found):
        return
    try:
        import immutabledict  # noqa: F401
        import langdetect  # noqa: F401
        import nltk
    except ImportError as error:
        yield f"general.tasks: ifeval needs the package {error.name}: pip install 'sciriff[general]'"
        return
    if not has_punkt(nltk):
        yield (
            "general.tasks: ifeval needs NLTK's punkt_tab, which is not here: python -m nltk.downloader punkt_tab; "
            "without a network pip install llama-index-core, which brings a copy, or name a folder with "
            "tokenizers/punkt_tab in NLTK_DATA"
        )


def _missing_data(found: Sequence[LeafFile], config: Config) -> Iterator[str]:
    """Datasets that are neither in general.data nor, without it, in the cache or reachable on the hub."""
    general = config.general
    wanted: dict[str, list[str | None]] = defaultdict(list)
    for leaf in found:
        if leaf.dataset and (name := leaf.about.get("dataset_name")) not in wanted[leaf.dataset]:
            wanted[leaf.dataset].append(name)
    missing, reason = datasets_at_hand.missing(general, config.cache_dir, wanted)
    if not missing:
        return
    names = ", ".join(missing)
    folder = general.data or "DATA"
    commands = " && ".join(f"hf download --repo-type dataset {one} --local-dir {folder}/{one}" for one in missing)
    if general.data is not None and reason is None:
        yield f"general.data={general.data} has no {names}; on a machine with a network: {commands}"
    elif general.data is not None:
        yield f"general.data={general.data}: {names} cannot be read there ({visible_line(reason or '')})"
    else:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
        yield (
            f"general.tasks: not in the hub's cache, and the hub does not give it{offline}: {names}; on a machine "
            f"with a network: {commands}, then general.data=DATA ({visible_line(reason or '')})"
        )


def _missing_files(found: Sequence[LeafFile], config: Config) -> Iterator[str]:
    """Files that tasks of one's own name in dataset_kwargs."""
    wanted = {leaf.name: (str(leaf.dataset), leaf.own_files) for leaf in found}
    if not wanted:
        return
    start = f"general.data={config.general.data}" if config.general.data else f"the working directory, {Path.cwd()}"
    for task, reason in datasets_at_hand.unreadable_files(config.general, config.cache_dir, wanted).items():
        yield (
            f"general.tasks: the data of {task} cannot be read ({visible_line(reason)}); a relative path in its "
            f"dataset_kwargs starts at {start}"
        )


if __name__ == "__main__":
    sys.exit(main())
