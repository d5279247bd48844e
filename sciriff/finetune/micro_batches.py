"""Cut the rows of one optimizer step into padded micro-batches, the same number for every process."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from sciriff.token_file import TokenFile


class Batch(NamedTuple):
    """One padded micro-batch, both tensors of shape (rows, longest)."""

    tokens: torch.Tensor
    """Token ids, int64; 0 where padded."""
    targets: torch.Tensor
    """Which tokens are learnt, bool; never the first of a row, which nothing predicts, nor padding."""

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.tokens.to(device, non_blocking=True), self.targets.to(device, non_blocking=True))


def cut(lengths: Sequence[int], ranks: int, micro_batch_tokens: int) -> list[list[list[int]]]:
    """`[rank][micro-batch]` -> positions in `lengths`; each position once, each micro-batch within the budget.

    Every rank gets the same number of micro-batches, because ZeRO-3 gathers weights in each of them; a rank that has
    fewer gets empty ones. Rows are sorted by length, so that little is padded and the ranks' n-th micro-batches,
    which wait for one another, are alike.
    """
    longest_first = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    pieces: list[list[int]] = []
    for position in longest_first:
        # The first of a piece is its longest: rows x longest is what it costs.
        if pieces and (len(pieces[-1]) + 1) * lengths[pieces[-1][0]] <= micro_batch_tokens:
            pieces[-1].append(position)
        else:
            pieces.append([position])
    while len(pieces) % ranks:
        divisible = [i for i, piece in enumerate(pieces) if len(piece) > 1]
        if not divisible:
            pieces.append([])
            continue
        largest = max(divisible, key=lambda i: len(pieces[i]) * lengths[pieces[i][0]])
        half = len(pieces[largest]) // 2
        pieces[largest : largest + 1] = [pieces[largest][:half], pieces[largest][half:]]
    return [pieces[rank::ranks] for rank in range(ranks)]


def collate(data: TokenFile, rows: Sequence[int], vocabulary: int) -> Batch:
    """The micro-batch of these rows, padded on the right; of no rows, one token that is not learnt.

    ValueError names a row with a token that the model has no embedding for.
    """
    if not rows:
        return Batch(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.bool))
    longest = max(int(data.lengths[row]) for row in rows)
    tokens = np.zeros((len(rows), longest), dtype=np.int64)
    targets = np.zeros((len(rows), longest), dtype=np.bool_)
    for i, row in enumerate(rows):
        row_tokens, row_targets = data[row]
        if row_tokens.min() < 0 or row_tokens.max() >= vocabulary:
            raise ValueError(
                f"row {data.ids[row]} has token {row_tokens.max()}, but the model has embeddings for {vocabulary}: "
                "the mix was tokenised for another model; run the mix stage again"
            )
        tokens[i, : len(row_tokens)] = row_tokens
        targets[i, : len(row_targets)] = row_targets
    targets[:, 0] = False
    return Batch(torch.from_numpy(tokens), torch.from_numpy(targets))
