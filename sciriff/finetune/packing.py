"""Spread the sequences of one optimizer step over the processes and pack them into micro-batches, nothing padded."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from sciriff.data.token_file import TokenFile
from sciriff.run.user_error import UserError

Plan = list[list[list[int]]]
"""`[rank][micro-batch]` -> positions among the sequences of the step."""


class Batch(NamedTuple):
    """One packed micro-batch: sequences one after the other, in tensors of shape (1, tokens)."""

    tokens: torch.Tensor
    """Token ids, int64."""
    targets: torch.Tensor
    """Which tokens are learnt, bool; never the first of a sequence, which nothing predicts."""
    positions: torch.Tensor
    """Place of each token in its own sequence, int64: 0 begins a new one."""
    lengths: tuple[int, ...]
    """Tokens of each sequence."""

    def to(self, device: torch.device) -> "Batch":
        tokens, targets, positions = (t.to(device, non_blocking=True) for t in self[:3])
        return Batch(tokens, targets, positions, self.lengths)


def pack(lengths: Sequence[int], costs: Sequence[float], ranks: int, micro_batch_tokens: int) -> Plan:
    """Every sequence once, each micro-batch within `micro_batch_tokens`, as many micro-batches on every rank.

    They are as few as the tokens allow, or as few as were found to hold them: bin packing is NP-hard. Sequences go, the
    dearest first, to the rank with the least to do and there to the micro-batch with the least (Graham 1969, longest
    processing time), so that ranks need not wait for one another; where that leaves no room, to the fullest that has
    some (best fit decreasing). A rank's dearest micro-batch comes first, since under ZeRO-3 the n-th ones wait for each
    other. Only where there are fewer sequences than micro-batches is one of them empty.
    """
    assert max(lengths) <= micro_batch_tokens, "TrainConfig refuses a max_length above micro_batch_tokens"
    fewest = math.ceil(sum(lengths) / (ranks * micro_batch_tokens))
    for micro_batches in range(fewest, len(lengths) + 1):
        if plan := _pack_into(micro_batches, lengths, costs, ranks, micro_batch_tokens):
            return plan
    raise AssertionError("one sequence a micro-batch always fits")


def _pack_into(
    micro_batches: int, lengths: Sequence[int], costs: Sequence[float], ranks: int, micro_batch_tokens: int
) -> Plan | None:
    """The plan with so many micro-batches on every rank; None where none was found."""
    shares = _spread(range(len(lengths)), ranks, micro_batches * micro_batch_tokens, lengths, costs, micro_batches)
    plan = []
    for share in shares or ():
        pieces = _spread(share, micro_batches, micro_batch_tokens, lengths, costs, least=1)
        if pieces is None:
            return None
        plan.append(sorted(pieces, key=lambda piece: -sum(costs[p] for p in piece)))
    return plan or None


def _spread(
    positions: Sequence[int], bins: int, capacity: int, lengths: Sequence[int], costs: Sequence[float], least: int
) -> list[list[int]] | None:
    """The positions in so many bins of `capacity` tokens, of even cost or else as full as they go, at least so many in
    each as far as there are enough; None if some fit nowhere. `capacity` must hold any `least` of them."""
    dearest_first = sorted(positions, key=lambda position: (-costs[position], position))
    for evenly in (True, False):
        content: list[list[int]] = [[] for _ in range(bins)]
        tokens, work = [0] * bins, [0.0] * bins
        for position in dearest_first:
            with_room = [b for b in range(bins) if tokens[b] + lengths[position] <= capacity]
            if not with_room:
                break
            chosen = min(with_room, key=work.__getitem__) if evenly else max(with_room, key=tokens.__getitem__)
            content[chosen].append(position)
            tokens[chosen] += lengths[position]
            work[chosen] += costs[position]
        else:
            while len(few := min(content, key=len)) < least < len(many := max(content, key=len)):
                few.append(many.pop(min(range(len(many)), key=lambda place: costs[many[place]])))
            return content
    return None


def efficiency(plan: Plan, lengths: Sequence[int], micro_batch_tokens: int) -> float:
    """Tokens over the room for them: all micro-batches times `micro_batch_tokens`.

    What TRL and axolotl call packing efficiency. They pay for the rest with padding; here it is not computed: an
    underfull micro-batch is a smaller one, and what it wastes is a share of the kernels' and ZeRO-3's overhead.
    """
    return sum(lengths) / (sum(len(share) for share in plan) * micro_batch_tokens)


def balance(plan: Plan, costs: Sequence[float]) -> float:
    """Work over the work of those that are waited for, where the ranks meet after every micro-batch: 1 is no wait."""
    slowest = [max(sum(costs[p] for p in piece) for piece in pieces) for pieces in zip(*plan, strict=True)]
    return sum(costs) / (len(plan) * sum(slowest))


def collate(data: TokenFile, rows: Sequence[int], vocabulary: int) -> Batch:
    """The micro-batch of these rows; of no rows, one token that is not learnt.

    UserError names a row with a token that the model has no embedding for.
    """
    if not rows:
        return joined([(np.zeros(1, np.int32), np.zeros(1, np.bool_))])
    sequences = [data[row] for row in rows]
    for row, (tokens, _) in zip(rows, sequences, strict=True):
        for token in (int(tokens.min()), int(tokens.max())):
            if not 0 <= token < vocabulary:
                raise UserError(
                    f"row {data.ids[row]} has token {token}, but the model has embeddings for {vocabulary}: "
                    "the mix was tokenised for another model; run the mix stage again"
                )
    return joined(sequences)


def joined(sequences: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """The micro-batch of these sequences: token ids and targets of each, both of shape (tokens,)."""
    lengths = tuple(len(tokens) for tokens, _ in sequences)
    tokens = np.concatenate([tokens for tokens, _ in sequences]).astype(np.int64)
    targets = np.concatenate([targets for _, targets in sequences]).astype(np.bool_)
    positions = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    targets[positions == 0] = False
    ids, learnt, places = (torch.from_numpy(array)[None] for array in (tokens, targets, positions))
    return Batch(ids, learnt, places, lengths)
