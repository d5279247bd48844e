"""Read the rows of a dataset of the Hugging Face hub, from the network or from a cached copy."""

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from sciriff.config import SourceConfig
from sciriff.run import known_errors
from sciriff.run.user_error import UserError

COMMIT = re.compile("[0-9a-f]{40}")
"""Commit of a repository, after which `datasets` names the folder of its copy."""


class MissingSplit(UserError):
    """A hub dataset without the requested split."""


class OutOfReach(UserError):
    """A hub dataset that cannot be read from here: no network, no copy, or no permission."""


def hub_rows(
    source: SourceConfig, columns: Collection[str], on_commit: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stream every row of a hub dataset with its place, without other columns than `columns`.

    `on_commit` is called with the dataset's commit if it is known. UserError says why it is out of reach, and the fix.
    """
    keys = ("config", "split", "revision")
    name = " ".join([str(source.hub)] + [f"{key}={value}" for key in keys if (value := getattr(source, key))])
    rows = _loaded(source, name)
    folders = sorted({Path(file["filename"]).parent.name for file in rows.cache_files})
    if commit := next(filter(COMMIT.fullmatch, folders), None):
        # without a network, `datasets` takes the copy that was made last, whatever its revision
        if COMMIT.fullmatch(source.revision or "") and commit != source.revision:
            raise OutOfReach(f"{name}: there is a copy here of revision {commit} alone; fetch the other with a network")
        on_commit(commit)
    rows = rows.select_columns([column for column in rows.column_names if column in columns])
    for number, row in enumerate(rows, 1):
        yield f"{name}: row {number}", row


def _loaded(source: SourceConfig, name: str) -> Any:
    assert source.hub is not None, "a source with neither path nor hub does not exist"
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    try:
        return load_dataset(source.hub, source.config, split=source.split, revision=source.revision, streaming=False)
    except DatasetNotFoundError as error:
        raise OutOfReach(
            f"{name}: {first_line(error)} If it is private or asks you to accept a licence, do so at "
            f"https://huggingface.co/datasets/{source.hub} and set HF_TOKEN (or `hf auth login`); "
            "or name a local copy with this source's `path`"
        ) from None
    except OSError as error:  # no network, HF_HUB_OFFLINE without a cached copy, an error of the server
        raise OutOfReach(
            f"{name}: cannot be fetched ({first_line(error)}). Without a network, download it where there is one and "
            "either copy HF_HOME here and set HF_HUB_OFFLINE=1, or name a local copy with this source's `path`"
        ) from None
    except (DatasetsError, ValueError, RuntimeError) as error:  # no such configuration or split; files it cannot read
        kind = MissingSplit if known_errors.UNKNOWN_SPLIT.search(error) else UserError
        raise kind(f"{name}: cannot be read ({first_line(error)})") from None


def first_line(error: BaseException) -> str:
    """First line of an error's message, or its type without one."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
