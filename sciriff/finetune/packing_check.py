"""A few tokens before the first step: is the packed loss of this model family what its own forward gives alone?

There are hundreds of families, with windows, caps, convolutions and positions of all kinds. Those whose packed
sequences would see one another are refused, whatever the reason.
"""

import numpy as np

from sciriff.finetune.backends import Backend
from sciriff.finetune.model import SummedLoss
from sciriff.finetune.packing import Batch, joined
from sciriff.finetune.workers import Workers
from sciriff.run.user_error import UserError

BEFORE, CHECKED = 24, 40
"""Tokens of the sequence that comes first, and of the one whose loss is looked at."""

ROUNDING = {"fp32": (1e-5, 1e-4), "bf16": (1e-3, 2e-2), "bf16_pure": (1e-3, 2e-2)}
"""Relative difference of two losses that is rounding: in micro-batches of the same shape, and of different ones."""


def check(model: SummedLoss, backend: Backend, precision: str, vocabulary: int, workers: Workers) -> None:
    """Compare losses of one sequence: packed behind two others of one length, alone, and by the model's own forward.

    Where only the output layer is of a kind that is not known, the model's own is used from now on, and that is said.
    UserError where packing changes the loss.
    """
    checked = _tokens(CHECKED, 7, vocabulary), np.ones(CHECKED, np.bool_)

    def behind(step: int) -> Batch:
        return joined([(_tokens(BEFORE, step, vocabulary), np.zeros(BEFORE, np.bool_)), checked])

    same_shape, other_shape = ROUNDING[precision]
    packed, packed_otherwise, alone = (
        float(backend.loss(batch)) for batch in (behind(5), behind(11), joined([checked]))
    )
    if not _agree(packed, packed_otherwise, same_shape) or not _agree(packed, alone, other_shape):
        family = type(model.language_model).__name__
        raise UserError(
            f"{family} cannot be trained on packed sequences with {model.attention_name}: the loss of one was "
            f"{alone:.6g} by itself, {packed:.6g} and {packed_otherwise:.6g} behind others; try train.attention=eager"
        )
    if not model.own_head:
        model.own_head = True
        model.own_head = not _agree(alone, float(backend.loss(joined([checked]))), other_shape)
        if model.own_head:
            workers.say("the model makes its logits itself, all at once: its output layer is of an unknown kind")


def _tokens(count: int, step: int, vocabulary: int) -> np.ndarray:
    return (np.arange(1, count + 1) * step) % vocabulary


def _agree(one: float, other: float, rounding: float) -> bool:
    return abs(one - other) <= rounding * max(abs(one), abs(other), 1.0)
