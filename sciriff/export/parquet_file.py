"""Write the answers of finished runs as one Parquet file: `python -m sciriff.export parquet FILE RUN ...`."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from sciriff.export.answer_table import ALL, DIFFERING, KEYS, AnswerTable, read_table_runs
from sciriff.run.arguments import ArgumentParser
from sciriff.run.messages import say, show
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import make_folder_of, naming

MAGIC = b"PAR1"
"""First bytes of a Parquet file."""


def main(arguments: Sequence[str]) -> int:
    """The command, given what follows `parquet`."""
    parser = ArgumentParser(prog="python -m sciriff.export parquet", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="the table; an earlier one is replaced")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run, a folder of runs, or a pattern in runs/")
    keys = f"keys of the configs that are columns; `{DIFFERING}` are those in which the runs differ ({ALL})"
    parser.add_argument("--keys", choices=KEYS, default=ALL, help=keys)
    parser.add_argument("--no-prompts", action="store_true", help="leave out the prompts, which are most of the size")
    given = parser.parse_args(arguments)
    check_target(given.file)
    table = AnswerTable(read_table_runs(given.runs), given.keys, prompts=not given.no_prompts)
    rows = write_parquet(given.file, table)
    say(*table.told.lines)
    what = f"{rows:,} answers of {len(table.runs)} {'run' if len(table.runs) == 1 else 'runs'}"
    show(f"{given.file}: {what}, {len(table.schema)} columns")
    return 0


def check_target(path: Path) -> None:
    """UserError for a place whose content is no table: a run in the place of FILE, say."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the FILE to write first, and then the runs")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise UserError(f"{path} is there and is no Parquet file; name another FILE to write")


def write_parquet(path: Path, table: AnswerTable) -> int:
    """Write all rows, whole or not at all, and return their number. The same runs give the same bytes."""
    make_folder_of(path)
    partial = path.with_name(path.name + ".partial")
    rows = 0
    with naming(path):
        try:
            partial.unlink(missing_ok=True)  # it may be a link, which would be written through
            with pq.ParquetWriter(partial, table.schema, compression="zstd") as writer:
                for batch in table.batches():
                    writer.write_batch(batch)
                    rows += batch.num_rows
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        partial.replace(path)
    return rows
