"""Check before the first step that packing does not change the loss of this model family.

Families whose packed sequences would influence one another (windows, convolutions ...) are refused.
"""

import math

import numpy as np

from sciriff.finetune.backends import Backend
from sciriff.finetune.model import SummedLoss
from sciriff.finetune.packing import Batch, concatenate
from sciriff.finetune.workers import Workers
from sciriff.run.user_error import UserError

PREFIX_TOKENS, CHECKED_TOKENS = 24, 40
"""Tokens of the sequence that comes first, and of the one whose loss is compared."""

ROUNDING = {"fp32": (1e-5, 1e-4), "bf16": (1e-3, 2e-2), "bf16_pure": (1e-3, 2e-2)}
"""Relative difference of two losses that is rounding, for micro-batches of equal and of different shape."""


def check(model: SummedLoss, backend: Backend, precision: str, vocabulary: int, workers: Workers) -> None:
    """Compare the loss of one sequence packed behind two different ones, alone, and by the model's own forward.

    UserError if packing changes it. If only the output layer is of an unknown kind, the model's own logits are used.
    """
    checked = _tokens(CHECKED_TOKENS, 7, vocabulary), np.ones(CHECKED_TOKENS, np.bool_)

    def packed_behind(step: int) -> Batch:
        return concatenate([(_tokens(PREFIX_TOKENS, step, vocabulary), np.zeros(PREFIX_TOKENS, np.bool_)), checked])

    same_shape, different_shape = ROUNDING[precision]
    packed, packed_otherwise, alone = (
        float(backend.evaluate(batch)) for batch in (packed_behind(5), packed_behind(11), concatenate([checked]))
    )
    if not _agree(packed, packed_otherwise, same_shape) or not _agree(packed, alone, different_shape):
        family = type(model.language_model).__name__
        raise UserError(
            f"{family} cannot be trained on packed sequences with {model.attention_name}: the loss of a sequence was "
            f"{alone:.6g} alone, {packed:.6g} and {packed_otherwise:.6g} behind others; try train.attention=eager"
        )
    if not model.own_head:
        model.own_head = True
        model.own_head = not _agree(alone, float(backend.evaluate(concatenate([checked]))), different_shape)
        if model.own_head:
            workers.log("the output layer is of an unknown kind: the model makes its logits itself, all at once")


def _tokens(count: int, step: int, vocabulary: int) -> np.ndarray:
    return (np.arange(1, count + 1) * step) % vocabulary


def _agree(a: float, b: float, rounding: float) -> bool:
    return math.isclose(a, b, rel_tol=rounding, abs_tol=rounding)
