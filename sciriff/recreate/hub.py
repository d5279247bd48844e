"""Records of a data set on the Hugging Face hub: its data files, or the parquet copy that the hub made of a script."""

from collections.abc import Callable, Iterable
from pathlib import Path

from sciriff.data.hub_rows import OutOfReach, commit_of, first_line, load_from_hub
from sciriff.recreate.corpus import Record
from sciriff.recreate.sources import PARQUET_BRANCH, raw_address
from sciriff.run.user_error import UserError

MOVED = {"covid_qa_deepset": "deepset/covid_qa_deepset"}
"""Hub ids from before data sets had owners -> today's."""


def hub_splits(
    source: str,
    subset: str | None = None,
    revision: str | None = None,
    on_commit: Callable[[str], None] = lambda commit: None,
) -> dict[str, Iterable[Record]]:
    """Fetch a hub data set; return the records of each split in source order, read from disk when iterated over.

    `revision` PARQUET_BRANCH takes the hub's parquet copy, where a subset is a folder. `on_commit` is called with the
    data set's commit if it is known. UserError says why it cannot be had, and where else its files are.
    """
    hub = MOVED.get(source, source)
    name = " ".join([hub] + [f"{key}={value}" for key, value in (("subset", subset), ("revision", revision)) if value])
    address = raw_address(source, subset)
    otherwise = f"take its raw files from {address}" if address else "name a local copy of it"
    try:
        if revision == PARQUET_BRANCH:
            snapshot = _parquet_copy(name, otherwise, hub, subset)
            commits = [snapshot.name]
            splits = load_from_hub(name, otherwise, "parquet", data_files=_files_by_split(name, snapshot, subset))
        else:
            splits = load_from_hub(name, otherwise, hub, subset, revision=revision)
            commits = [commit for rows in splits.values() if (commit := commit_of(rows, name, revision))]
    except UserError as error:
        raise error if otherwise in str(error) else type(error)(f"{error}; or {otherwise}") from None
    if commits:
        on_commit(commits[0])
    return dict(splits)


def _parquet_copy(name: str, otherwise: str, hub: str, subset: str | None) -> Path:
    """Fetch the hub's parquet copy of a subset, or of all. Its folder is named by the commit."""
    from huggingface_hub import snapshot_download

    pattern = f"{subset or '*'}/*/*.parquet"
    try:
        return Path(snapshot_download(hub, repo_type="dataset", revision=PARQUET_BRANCH, allow_patterns=pattern))
    except OSError as error:  # no network or copy, no such repository or branch, or it asks for a licence
        reason = f"{name}: cannot be fetched ({first_line(error)})"
        raise OutOfReach(f"{reason}. Fetch it where there is a network and copy HF_HOME here, or {otherwise}") from None


def _files_by_split(name: str, snapshot: Path, subset: str | None) -> dict[str, list[str]]:
    """List the parquet files of a subset, by default the only one."""
    files: dict[str, list[str]] = {}
    subsets = set()
    for path in sorted(snapshot.glob("*/*/*.parquet")):
        if subset in (None, path.parts[-3]):
            files.setdefault(path.parts[-2], []).append(str(path))
            subsets.add(path.parts[-3])
    if len(subsets) != 1:
        found = f"{len(subsets)} subsets ({', '.join(sorted(subsets))})" if subsets else "no such subset"
        raise UserError(f"{name}: the hub's parquet copy has {found}; name one in the template file")
    return files
