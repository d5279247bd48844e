"""The tokenised mix on disk: token ids and which of them are learnt, in one memory-mapped Arrow file."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from sciriff.run.user_error import UserError

NAME = "rows.arrow"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("targets", pa.list_(pa.bool_())),
        ("target_count", pa.int32()),
    ]
)

TOKENS_PER_BATCH = 1 << 20
"""Tokens of an Arrow batch, which the writer holds in memory."""

Numbers = np.ndarray | Sequence[int]
T = TypeVar("T")


def write_token_file(folder: Path, rows: Iterable[tuple[str, Numbers, Numbers]]) -> None:
    """Write rows (id `dataset/id`, token ids, target flags) into `folder`, atomically and in their order.

    The rows are consumed as a stream. Arrays (int32, bool) are written without a copy as lists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (NAME + ".partial")
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for batch in batches(rows, lambda row: len(row[1]), TOKENS_PER_BATCH):
            for name, row, flags in batch:
                assert len(row) == len(flags), f"{name}: {len(row)} tokens, {len(flags)} flags"
            ids, tokens, targets = zip(*batch, strict=True)
            columns = [
                ids,
                [np.asarray(row, np.int32) for row in tokens],
                [np.asarray(row, np.bool_) for row in targets],
                [np.count_nonzero(row) for row in targets],
            ]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
    partial.replace(folder / NAME)


def batches(items: Iterable[T], size: Callable[[T], int], enough: int) -> Iterator[list[T]]:
    """Group items in their order into lists whose sizes add up to `enough` or more; the last may be smaller."""
    batch: list[T] = []
    held = 0
    for item in items:
        batch.append(item)
        held += size(item)
        if held >= enough:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


class TokenFile:
    """Rows written by `write_token_file`. They stay on disk; reading one maps only its pages.

    `ids` are the row ids, `lengths` the tokens of each row (int32) and `target_counts` its targets. UserError if the
    file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        if not path.is_file():
            raise UserError(f"{path}: there are no tokens here; run the mix stage")
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if reader.schema != SCHEMA:
                raise UserError(f"{path}: not a file of tokens; delete its folder and run the mix stage again")
            self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            for batch in self._batches:
                batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            first_line = str(error).partition("\n")[0]
            raise UserError(f"{path}: damaged ({first_line}); delete its folder, run the mix stage again") from None
        self._starts = np.cumsum([0] + [batch.num_rows for batch in self._batches])
        self.ids: list[str] = [row_id for batch in self._batches for row_id in batch.column("id").to_pylist()]
        self.lengths = _concatenated([np.diff(batch.column("tokens").offsets.to_numpy()) for batch in self._batches])
        self.target_counts = _concatenated([batch.column("target_count").to_numpy() for batch in self._batches])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids (int32) and targets (bool) of row `index`, both of shape (tokens,), as copies one may write to."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        batch, row = self._batches[number], int(index - self._starts[number])
        tokens = batch.column("tokens")[row].values.to_numpy()
        targets = batch.column("targets")[row].values.to_numpy(zero_copy_only=False)
        return tokens.copy(), targets.astype(np.bool_)


def _concatenated(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int32), *parts]).astype(np.int32)
