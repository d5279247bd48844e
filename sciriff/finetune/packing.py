"""Spread the sequences of an optimizer step over the ranks and pack them into micro-batches, without padding."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from sciriff.data.token_file import TokenFile
from sciriff.run.user_error import UserError

Plan = list[list[list[int]]]
"""`plan[rank][micro_batch]`: indices into the sequences of the step."""


class Batch(NamedTuple):
    """One packed micro-batch: sequences concatenated in tensors of shape (1, tokens)."""

    tokens: torch.Tensor
    """Token ids, int64."""
    targets: torch.Tensor
    """True for tokens that are learnt, bool; never the first of a sequence, which no token predicts."""
    positions: torch.Tensor
    """Position of each token in its own sequence, int64."""
    lengths: tuple[int, ...]
    """Tokens of each sequence."""

    def to(self, device: torch.device) -> "Batch":
        tokens, targets, positions = (t.to(device, non_blocking=True) for t in self[:3])
        return Batch(tokens, targets, positions, self.lengths)


def pack(
    lengths: Sequence[int], costs: Sequence[float], ranks: int, micro_batch_tokens: int, one_by_one: bool = False
) -> Plan:
    """Return a plan with every sequence once, each micro-batch within `micro_batch_tokens`, equally many on every rank.

    The number of micro-batches is the smallest for which this heuristic finds a plan (bin packing is NP-hard).
    Sequences are assigned in order of falling cost, to the rank with the least work and there to the micro-batch with
    the least (longest processing time, Graham 1969); where that leaves no room, to the fullest with room (best fit
    decreasing). The costliest micro-batch of each rank comes first, since under ZeRO-3 the n-th micro-batches of all
    ranks wait for each other. A micro-batch is empty only if there are fewer sequences than micro-batches, or, with
    `one_by_one`, which puts one sequence at most into each, where their number is no multiple of `ranks`.
    """
    assert max(lengths) <= micro_batch_tokens, "TrainConfig refuses a max_length above micro_batch_tokens"
    if one_by_one:
        return _one_by_one(costs, ranks)
    fewest = math.ceil(sum(lengths) / (ranks * micro_batch_tokens))
    for micro_batches in range(fewest, len(lengths) + 1):
        if plan := _pack_into(micro_batches, lengths, costs, ranks, micro_batch_tokens):
            return plan
    raise AssertionError("one sequence a micro-batch always fits")


def _one_by_one(costs: Sequence[float], ranks: int) -> Plan:
    """Return a plan with one sequence at most a micro-batch: the n-th of all ranks, which may wait for each other, are
    of similar cost, and the ranks take turns to get the costliest."""
    costliest_first = sorted(range(len(costs)), key=lambda item: (-costs[item], item))
    plan: Plan = [[] for _ in range(ranks)]
    for start in range(0, len(costliest_first), ranks):
        turn = [[item] for item in costliest_first[start : start + ranks]]
        turn += [[] for _ in range(ranks - len(turn))]
        for share, piece in zip(plan, turn[:: -1 if start // ranks % 2 else 1], strict=True):
            share.append(piece)
    return plan


def _pack_into(
    micro_batches: int, lengths: Sequence[int], costs: Sequence[float], ranks: int, micro_batch_tokens: int
) -> Plan | None:
    """Return a plan with `micro_batches` on every rank, or None if none is found."""
    shares = _spread(range(len(lengths)), ranks, micro_batches * micro_batch_tokens, lengths, costs, micro_batches)
    plan = []
    for share in shares or ():
        pieces = _spread(share, micro_batches, micro_batch_tokens, lengths, costs, least=1)
        if pieces is None:
            return None
        plan.append(sorted(pieces, key=lambda piece: -sum(costs[p] for p in piece)))
    return plan or None


def _spread(
    items: Sequence[int], bins: int, capacity: int, lengths: Sequence[int], costs: Sequence[float], least: int
) -> list[list[int]] | None:
    """Distribute `items` over bins of `capacity` tokens, evenly by cost or else as full as possible; None if one fits
    nowhere. Each bin gets at least `least` items, if there are enough; `capacity` must hold any `least` of them."""
    costliest_first = sorted(items, key=lambda item: (-costs[item], item))
    for evenly in (True, False):
        content: list[list[int]] = [[] for _ in range(bins)]
        tokens, work = [0] * bins, [0.0] * bins
        for item in costliest_first:
            with_room = [b for b in range(bins) if tokens[b] + lengths[item] <= capacity]
            if not with_room:
                break
            chosen = min(with_room, key=work.__getitem__) if evenly else max(with_room, key=tokens.__getitem__)
            content[chosen].append(item)
            tokens[chosen] += lengths[item]
            work[chosen] += costs[item]
        else:
            while len(few := min(content, key=len)) < least < len(many := max(content, key=len)):
                few.append(many.pop(min(range(len(many)), key=lambda index: costs[many[index]])))
            return content
    return None


def efficiency(plan: Plan, lengths: Sequence[int], micro_batch_tokens: int) -> float:
    """Return the packing efficiency: tokens over `micro_batch_tokens` times the number of micro-batches (as TRL and
    axolotl, which pay for the rest with padding; here an underfull micro-batch is just smaller)."""
    return sum(lengths) / (sum(len(share) for share in plan) * micro_batch_tokens)


def balance(plan: Plan, costs: Sequence[float]) -> float:
    """Return mean over slowest work of the ranks, if they synchronise after every micro-batch; 1 is no wait."""
    slowest = [max(sum(costs[p] for p in piece) for piece in pieces) for pieces in zip(*plan, strict=True)]
    return sum(costs) / (len(plan) * sum(slowest))


def collate(data: TokenFile, rows: Sequence[int], vocabulary: int) -> Batch:
    """Return the micro-batch of these rows; of none, a token that is no target. UserError for ids without embedding."""
    if not rows:
        return concatenate([(np.zeros(1, np.int32), np.zeros(1, np.bool_))])
    sequences = [data[row] for row in rows]
    for row, (tokens, _) in zip(rows, sequences, strict=True):
        for token in (int(tokens.min()), int(tokens.max())):
            if not 0 <= token < vocabulary:
                problem = f"row {data.ids[row]} has token {token}, but the model has embeddings for {vocabulary}"
                raise UserError(f"{problem}: the mix was tokenised for another model; run the mix stage again")
    return concatenate(sequences)


def concatenate(sequences: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Return the micro-batch of these sequences, each a pair of token ids and targets of shape (tokens,)."""
    lengths = tuple(len(tokens) for tokens, _ in sequences)
    tokens = np.concatenate([tokens for tokens, _ in sequences]).astype(np.int64)
    targets = np.concatenate([targets for _, targets in sequences]).astype(np.bool_)
    positions = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    targets[positions == 0] = False
    token_ids, is_target, position = (torch.from_numpy(array)[None] for array in (tokens, targets, positions))
    return Batch(token_ids, is_target, position, lengths)
