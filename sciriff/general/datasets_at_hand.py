"""Where lm-eval finds the datasets of its tasks: general.data, or the hub and its cache."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from sciriff.config import GeneralConfig
from sciriff.run.digest import stat_digest

PATIENCE = 10.0
"""Seconds for a connection to the hub."""
DIGITS = 16
"""Digits of a folder's digest in the name of its cache."""
LONGEST_REASON = 160
"""Characters of an error that are shown."""


@contextlib.contextmanager
def reading(general: GeneralConfig, cache_dir: str) -> Iterator[None]:
    """Let lm-eval read general.data: `datasets` looks for a folder OWNER/NAME below the working directory before it
    asks the hub. With a folder the hub is not asked at all, whatever a file in it names.

    What it converts is kept in `cache_dir`, apart for each state of the folder: its own cache knows a local dataset by
    the names of its files, and was seen to give what a file had held before, or what another folder holds.
    """
    import datasets

    before, cache = Path.cwd(), datasets.config.HF_DATASETS_CACHE
    if general.run_code:
        os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    try:
        if general.data is not None:
            datasets.config.HF_DATASETS_CACHE = Path(cache_dir) / "general" / stat_digest(Path(general.data))[:DIGITS]
            os.chdir(general.data)
            stay_offline()
        yield
    finally:
        os.chdir(before)
        datasets.config.HF_DATASETS_CACHE = cache


def stay_offline() -> None:
    """Keep `datasets` from asking the hub for the rest of this process; models and tokenizers are loaded before."""
    import datasets
    from huggingface_hub import constants

    datasets.config.HF_HUB_OFFLINE = True
    constants.HF_HUB_OFFLINE = True


def missing(
    general: GeneralConfig, cache_dir: str, wanted: Mapping[str, Sequence[str | None]]
) -> tuple[list[str], str | None]:
    """Return which of the datasets cannot be read, and why the first of them; None where general.data lacks a folder.
    `wanted`: dataset -> its configs. The hub has either all of a dataset or none and is asked for one of them."""
    if general.data is not None and (absent := [one for one in wanted if not _is_there(general.data, one)]):
        return sorted(absent), None
    reasons: dict[str, str] = {}
    with reading(general, cache_dir):
        online = general.data is None and _hub_answers()
        if not online:
            stay_offline()
        from datasets import load_dataset_builder

        for path, configs in sorted(wanted.items()):
            try:
                for config in configs[:1] if online else configs:
                    load_dataset_builder(path, config)
            except (OSError, ValueError, ImportError, LookupError) as error:
                named = f"{config}: " if config else ""
                reasons[path] = f"{named}{_shown(error)}"
    return list(reasons), next(iter(reasons.values()), None)


def unreadable_files(
    general: GeneralConfig, cache_dir: str, wanted: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> dict[str, str]:
    """Return task -> why its own files cannot be read. `wanted`: task -> their format and where they lie."""
    reasons = {}
    with reading(general, cache_dir):
        from datasets import load_dataset_builder

        for task, (kind, places) in wanted.items():
            try:
                load_dataset_builder(kind, **places)
            except (OSError, ValueError, ImportError, LookupError, TypeError) as error:
                reasons[task] = _shown(error)
    return reasons


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST_REASON]}"


def _is_there(data: str, dataset: str) -> bool:
    """Whether a dataset has a folder in general.data; names without an owner are formats of files, such as `json`."""
    return "/" not in dataset or (Path(data) / dataset).is_dir()


def _hub_answers() -> bool:
    """Whether the hub can be connected to. Its client tries for half a minute, for each dataset. With a proxy there is
    no telling."""
    if getproxies().get("https"):
        return True
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=PATIENCE).close()
    except OSError:
        return False
    return True
