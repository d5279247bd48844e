"""Read the rows of a dataset of the Hugging Face hub, from the network or from a cached copy."""

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from sciriff.config import SourceConfig
from sciriff.run import known_errors
from sciriff.run.user_error import UserError

Choose = Callable[[str, Collection[str]], list[str]]
"""Called with the place of a table and the names of its columns and of what is nested in them; returns the columns to
read, or raises."""

COMMIT = re.compile("[0-9a-f]{40}")
"""Commit of a repository, after which `datasets` names the folder of its copy."""


class MissingSplit(UserError):
    """A hub dataset without the requested split."""


class OutOfReach(UserError):
    """A hub dataset that cannot be read from here: no network, no copy, or no permission."""


def hub_rows(
    source: SourceConfig, choose: Choose, on_commit: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stream every row of a hub dataset with its place, without other columns than `choose` returns.

    `on_commit` is called with the dataset's commit if it is known. UserError says why it is out of reach, and the fix.
    """
    keys = ("config", "split", "revision")
    name = " ".join([str(source.hub)] + [f"{key}={value}" for key in keys if (value := getattr(source, key))])
    assert source.hub is not None, "a source with neither path nor hub does not exist"
    otherwise = "name a local copy with this source's `path`"
    options = {"split": source.split, "revision": source.revision}
    rows = load_from_hub(name, otherwise, source.hub, source.config, **options)
    if commit := commit_of(rows, name, source.revision):
        on_commit(commit)
    rows = rows.select_columns(choose(name, schema_names(rows.features.arrow_schema)))
    for number, row in enumerate(rows, 1):
        yield f"{name}: row {number}", row


def schema_names(schema: Any) -> list[str]:
    """Names of the columns of an Arrow schema, each before those that are nested in it (`meta`, `meta.question`)."""
    import pyarrow as pa

    names: list[str] = []

    def note(name: str, kind: Any) -> None:
        names.append(name)
        for number in range(kind.num_fields if pa.types.is_struct(kind) else 0):
            note(f"{name}.{kind.field(number).name}", kind.field(number).type)

    for column in schema:
        note(column.name, column.type)
    return names


def load_from_hub(name: str, otherwise: str, hub: str, config: str | None = None, **options: Any) -> Any:
    """Load a hub dataset with `datasets`: data files alone, never a script of its repository.

    UserError begins with `name`, its text for messages, and says why the dataset is out of reach and how to fetch it;
    `otherwise` names another way to have the rows. `options` are those of `datasets.load_dataset`.
    """
    import datasets
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    # before version 4, the environment could allow scripts
    if hasattr(datasets.config, "HF_DATASETS_TRUST_REMOTE_CODE"):
        datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = False
    try:
        return datasets.load_dataset(hub, config, streaming=False, **options)
    except DatasetNotFoundError as error:
        raise OutOfReach(
            f"{name}: {first_line(error)} If it is private or asks you to accept a licence, do so at "
            f"https://huggingface.co/datasets/{hub} and set HF_TOKEN (or `hf auth login`); or {otherwise}"
        ) from None
    except (DatasetsError, EmptyDatasetError, ValueError, RuntimeError) as error:  # no such split; unreadable files
        kind = MissingSplit if known_errors.UNKNOWN_SPLIT.search(error) else UserError
        raise kind(f"{name}: cannot be read ({first_line(error)})") from None
    except OSError as error:  # no network, HF_HUB_OFFLINE without a cached copy, an error of the server
        raise OutOfReach(
            f"{name}: cannot be fetched ({first_line(error)}). Without a network, download it where there is one and "
            f"either copy HF_HOME here and set HF_HUB_OFFLINE=1, or {otherwise}"
        ) from None


def commit_of(rows: Any, name: str, revision: str | None) -> str | None:
    """Return the commit that loaded rows are of, if it is known. UserError if `revision` is another commit."""
    folders = sorted({Path(file["filename"]).parent.name for file in rows.cache_files})
    commit = next(filter(COMMIT.fullmatch, folders), None)
    # without a network, `datasets` takes the copy that was made last, whatever its revision
    if commit and COMMIT.fullmatch(revision or "") and commit != revision:
        raise OutOfReach(f"{name}: there is a copy here of revision {commit} alone; fetch the other with a network")
    return commit


def first_line(error: BaseException) -> str:
    """First line of an error's message, or its type without one."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
