"""Find out before the first step how rows of this model family may be packed, and that its loss is computed rightly.

Attention keeps packed rows apart; convolutions and states run on from one row into the next, unless their kernels are
told where rows begin. A family whose rows influence one another all the same is trained on one row a micro-batch.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from sciriff.config import TrainConfig
from sciriff.finetune.attention import UnsupportedAttention
from sciriff.finetune.backends import Backend
from sciriff.finetune.model import SummedLoss
from sciriff.finetune.packing import Batch, concatenate
from sciriff.finetune.workers import Workers
from sciriff.run import known_errors
from sciriff.run.user_error import UserError

PREFIX_TOKENS, CHECKED_TOKENS, SUFFIX_TOKENS = 24, 40, 8
"""Tokens before the row whose loss is compared, at least; of that row, at least; and after it."""

MARGIN = 12
"""Tokens by which rows and what is before them exceed a family's windows, or fall short of them."""

REFERENCE_TOKENS = 1024
"""Tokens at most of the row that is compared with the model's own attention, whose memory is their square."""

FIRST, LAST = 16, 24
"""Targets of the compared row: a state or convolution leaks into its first tokens, a window changes its last ones."""

ROUNDING = {"fp32": (1e-5, 1e-4), "bf16": (1e-3, 2e-2), "bf16_pure": (1e-3, 2e-2)}
"""Relative difference of two losses that is rounding, for micro-batches of equal and of different shape."""

TOKEN_ROUNDING = {"fp32": 1e-3, "bf16": 0.1, "bf16_pure": 0.1}
"""The same for the logits of one token, relative to their spread: a router's rounding may choose another expert."""

SIZES = ("sliding_window", "attention_chunk_size", "floor_scale", "original_max_position_embeddings")
"""Keys of configs for numbers of tokens beyond which attention or positions change."""


def settle(
    model: SummedLoss, backend: Backend, train: TrainConfig, vocabulary: int, longest: int, workers: Workers
) -> str | None:
    """Set how the rows of a micro-batch are computed, together if that changes nothing. Returns why not, for the log.

    `longest` is the length of the longest row. UserError if the loss of a row by itself is not that of the model's own
    forward. If only the output layer is of an unknown kind, the model's own logits are used.
    """
    model.one_by_one = True
    _check_single_rows(model, backend, train, vocabulary, longest, workers)
    reason: str | None = None
    for model.boundaries in (False, True):
        model.one_by_one = False
        try:
            leak = _leak(model, backend, train, vocabulary, longest)
        except (TypeError, ValueError) as error:
            if not any(known.search(error) for known in (known_errors.NO_PACKED_KERNEL, known_errors.NO_SUCH_ARGUMENT)):
                raise
            leak = "its layers cannot be told where rows begin"
        # One rank's rounding may be on the other side of a threshold: what one finds holds for all.
        leak = next((found for found in workers.gather([leak]) if found is not None), None)
        if leak is None:
            return None
        reason = reason or leak
    model.boundaries, model.one_by_one = False, True
    return reason


def _check_single_rows(
    model: SummedLoss, backend: Backend, train: TrainConfig, vocabulary: int, longest: int, workers: Workers
) -> None:
    """UserError if the loss of one row is not that of the model's own forward with its own attention."""
    row = _row(min(_checked_tokens(model, longest), REFERENCE_TOKENS), vocabulary)
    batch = concatenate([row])
    with own_forward(model):
        logits = backend.evaluate(batch, as_logits=True)
    targets = batch.targets[0, 1:]
    expected = batch.tokens[0, 1:][targets].to(logits.device)
    reference = float(functional.cross_entropy(logits, expected, reduction="sum"))
    try:
        alone, reference = _furthest(workers, float(backend.evaluate(batch)), reference)
    except UnsupportedAttention as error:
        if train.attention != "auto":
            raise UserError(f"{error}; set train.attention=eager") from None
        workers.log(f"{error}: attention is eager, which is slower")
        use_attention(model, "eager")
        alone, reference = _furthest(workers, float(backend.evaluate(batch)), reference)
    _, rounding = ROUNDING[train.precision]
    if not _agree(alone, reference, rounding) and not model.own_head:
        model.own_head = True
        otherwise = _furthest(workers, float(backend.evaluate(batch)), reference)
        if _agree(*otherwise, rounding):
            workers.log("the output layer is of an unknown kind: the model makes its logits itself, all at once")
            alone, reference = otherwise
    if not _agree(alone, reference, rounding):
        advice = "" if model.attention_name == "eager" else "; try train.attention=eager"
        raise UserError(
            f"{_family(model)} cannot be trained: the loss of one row is {alone:.6g} with {model.attention_name}, and "
            f"{reference:.6g} by the model's own forward with its own attention{advice}"
        )


def _leak(model: SummedLoss, backend: Backend, train: TrainConfig, vocabulary: int, longest: int) -> str | None:
    """Return how much other rows change one that is packed with them; None if they do not."""
    length = _checked_tokens(model, longest)
    checked = _row(length, vocabulary)
    before = _tokens_before(model, length, train.micro_batch_tokens)

    def packed_with(step: int) -> Batch:
        others = [min(longest, before - start) for start in range(0, before, longest)]
        rows = [_unlearnt(tokens, step, vocabulary) for tokens in others]
        return concatenate([*rows, checked, _unlearnt(SUFFIX_TOKENS, step + 2, vocabulary)])

    packs, alone = [packed_with(5), packed_with(11)], concatenate([checked])
    logits = [backend.evaluate(batch, as_logits=True) for batch in (*packs, alone)]
    changes = _changes(logits[0], logits[1])
    same_shape, different_shape = ROUNDING[train.precision]
    # With the kernels of training, which some layers choose by their mode; dropout is equal.
    one, other = (float(backend.evaluate(batch, in_training=True)) for batch in packs)
    packed, by_itself = (float(backend.evaluate(batch)) for batch in (packs[0], alone))
    if (
        float(changes.max()) <= TOKEN_ROUNDING[train.precision]
        and float(_changes(logits[0], logits[2]).median()) <= TOKEN_ROUNDING[train.precision]
        and _agree(one, other, same_shape)
        and _agree(packed, by_itself, different_shape)
    ):
        return None
    if float(changes.max()) > TOKEN_ROUNDING[train.precision]:
        return f"since other rows packed with one change its logits by up to {float(changes.max()):.0%} of their spread"
    return f"since the loss of a row was {by_itself:.6g} alone, and {packed:.6g} or {other:.6g} packed with others"


@contextmanager
def own_forward(model: SummedLoss) -> Iterator[None]:
    """Compute as the family does by itself meanwhile: no arguments of ours, and eager attention if it may be chosen."""
    before = model.one_by_one, model.attention_name
    model.one_by_one = True
    use_attention(model, "eager")
    try:
        yield
    finally:
        model.one_by_one = before[0]
        use_attention(model, before[1])


def use_attention(model: SummedLoss, implementation: str) -> None:
    """Compute attention by this implementation of transformers from now on."""
    model.language_model.set_attn_implementation(implementation)
    model.attention_name = implementation


def _changes(logits: Tensor, others: Tensor) -> Tensor:
    """Return the differences of two sets of logits (tokens, vocabulary), each token's relative to their spread."""
    return (logits - others).norm(dim=1) / (logits - logits.mean(dim=1, keepdim=True)).norm(dim=1).clamp(min=1e-6)


def _sizes(config: Any) -> list[int]:
    """Return the numbers of tokens beyond which attention or positions change in this family, rising."""
    parts = [config.to_dict()] if hasattr(config, "to_dict") else []
    found = set()
    while parts:
        part = parts.pop()
        parts += [value for value in part.values() if isinstance(value, dict)]
        found |= {value for name in SIZES if isinstance(value := part.get(name), int) and value > 0}
    return sorted(found)


def _checked_tokens(model: SummedLoss, longest: int) -> int:
    """Return the length of the compared row: beyond the family's largest window that is below the longest row."""
    sizes = _sizes(model.language_model.config.get_text_config())
    within = max((size for size in sizes if size < longest), default=0)
    return max(CHECKED_TOKENS, min(longest, within + LAST + MARGIN))


def _tokens_before(model: SummedLoss, length: int, micro_batch_tokens: int) -> int:
    """Return how many tokens are before the compared row: so many that the largest window or chunk would end in it."""
    room = micro_batch_tokens - length - SUFFIX_TOKENS
    sizes = _sizes(model.language_model.config.get_text_config())
    return max(PREFIX_TOKENS, max((size - MARGIN for size in sizes if size <= room), default=0))


def _row(length: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    targets = np.zeros(length, np.bool_)
    targets[:FIRST] = targets[-LAST:] = True
    return _tokens(length, 7, vocabulary), targets


def _unlearnt(length: int, step: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    return _tokens(length, step, vocabulary), np.zeros(length, np.bool_)


def _tokens(count: int, step: int, vocabulary: int) -> np.ndarray:
    return (np.arange(1, count + 1) * step) % vocabulary


def _furthest(workers: Workers, loss: float, reference: float) -> tuple[float, float]:
    """Return the pair of that rank on which they differ most, so that all decide alike."""
    pairs: list[tuple[float, float]] = workers.gather([(loss, reference)])
    return max(pairs, key=lambda pair: difference if math.isfinite(difference := abs(pair[0] - pair[1])) else math.inf)


def _agree(a: float, b: float, rounding: float) -> bool:
    return math.isclose(a, b, rel_tol=rounding, abs_tol=rounding)


def _family(model: SummedLoss) -> str:
    return type(model.language_model).__name__
