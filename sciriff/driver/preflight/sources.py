"""Check what the sources of a mix ask of their rows: columns, templates and filters, and the first lines of tables."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from sciriff.config import Config, SourceConfig
from sciriff.data.delimited import is_table, table_columns
from sciriff.data.source_files import source_files
from sciriff.mix.columns import RowFilter
from sciriff.mix.row_forms import row_forms
from sciriff.mix.used_sources import used_sources
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError


def unusable_sources(config: Config) -> Iterator[str]:
    """Sources that do not go together, and columns and filters that cannot be meant, or that a table lacks; the mix
    stage looks at the other files."""
    if "mix" not in config.active_stages:
        return
    try:
        used_sources(config.mix)
    except UserError as error:
        yield str(error)
        return
    if config.mix.path is not None:
        mix = RunDir(Path(config.mix.path)).mix
        if mix.is_file():
            yield f"mix.path={config.mix.path} is the folder of a run; its mix is mix.path={mix}"
        return
    for name, source in config.mix.sources.items():
        try:
            if source.exists:
                _check(name, source)
        except UserError as error:
            yield str(error)


def _check(name: str, source: SourceConfig) -> None:
    RowFilter(name, source)
    forms = row_forms(name, source)
    if forms is None or source.path is None or not Path(source.path).expanduser().exists():
        return
    for path in source_files(source):
        if is_table(path):
            forms.choose(str(path), _columns_of(path))


def _columns_of(path: Path) -> list[str]:
    with path.open("rb") as file:
        if not path.name.endswith(".gz"):
            return table_columns(path, file)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return table_columns(path, unpacked)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{path}: damaged or only half there ({error}); fetch it again") from None
