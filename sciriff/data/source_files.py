"""Local files of a data source, and a digest of its contents. Light, so that the driver can use it."""

from dataclasses import replace
from pathlib import Path

from sciriff.config import EvalConfig, SourceConfig
from sciriff.data.delimited import TABLES, is_table
from sciriff.run.digest import file_digest, value_digest
from sciriff.run.user_error import UserError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet", *TABLES)
SPLITS = ("train", "validation", "test", "dev")
HUB_KEYS = ("hub", "config", "split", "revision")


def source_files(source: SourceConfig) -> list[Path]:
    """Local files of a source, sorted by name: the file itself, or the files of `source.split` in a folder.

    Their names begin with the split's name; if none does, all files count that do not begin with another split's. CSV
    and TSV files of a folder count where it has no others: tables of figures lie beside rows.
    """
    assert source.path is not None
    path = Path(source.path).expanduser()
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            raise UserError(f"{path}: rows are read from {', '.join(SUFFIXES)} files")
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: there is no such file or folder")
    chosen = _of_split(_files_that_count(path), source.split)
    if not chosen:
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        found = ", ".join(entry.name + "/" * entry.is_dir() for entry in entries[:8]) or "nothing"
        inside = next((f"; did you mean {entry}?" for entry in entries if entry.is_dir() and _files(entry)), "")
        kinds = ", ".join(SUFFIXES)
        raise UserError(f"{path}: no {kinds} file of the split {source.split!r} here, but {found}{inside}")
    return chosen


def tables_left_out(source: SourceConfig) -> list[Path]:
    """CSV and TSV files of the split in a folder of other files, which do not count."""
    path = Path(source.path or "").expanduser()
    files = _files(path) if source.path is not None and path.is_dir() else []
    tables = [file for file in files if is_table(file)]
    return _of_split(tables, source.split) if len(tables) < len(files) else []


def _files(folder: Path) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return [entry for entry in entries if entry.is_file() and entry.name.endswith(SUFFIXES)]


def _files_that_count(folder: Path) -> list[Path]:
    files = _files(folder)
    return [file for file in files if not is_table(file)] or files


def _of_split(files: list[Path], split: str) -> list[Path]:
    others = tuple(name for name in SPLITS if name != split)
    chosen = [file for file in files if file.name.startswith(split)]
    return chosen or [file for file in files if not file.name.startswith(others)]


def instances_source(evaluation: EvalConfig) -> SourceConfig:
    """Source of the evaluation instances: the local `eval.path` before the hub's `eval.source`."""
    source = replace(evaluation.source, split=evaluation.split)
    if evaluation.path is not None:
        source = replace(source, path=evaluation.path)
    if not source.exists:
        raise UserError("there are no evaluation instances: give eval.path=FILE_OR_FOLDER, or choose an eval")
    return source


def validation_split(source: SourceConfig) -> SourceConfig | None:
    """The validation split beside a source's rows: files named after it, or a hub's, which may not exist; or None."""
    if not source.exists or source.split == "validation":
        return None
    if source.path is not None:
        path = Path(source.path).expanduser()
        files = _files_that_count(path) if path.is_dir() else []
        if not any(file.name.startswith("validation") for file in files):
            return None
    return replace(source, split="validation")


def source_digest(source: SourceConfig) -> str:
    """Digest of the contents of a source's local files in reading order; for a hub dataset, of its HUB_KEYS."""
    if source.path is None:
        return value_digest({key: getattr(source, key) for key in HUB_KEYS})
    return value_digest([file_digest(path) for path in source_files(source)])
