"""Which layers are checkpointed, and the arithmetic of `auto`; what needs a GPU is in tests/gpu."""

from dataclasses import replace

import pytest
from finetune_runs import SHAPE, TRAIN, tiny_model
from torch import float32

from sciriff.finetune.activation_checkpointing import checkpointed, enable, largest_batch
from sciriff.models.loading import load_model


def checkpointing(value: object, on_gpu: bool = False) -> list[bool]:
    model = load_model(tiny_model(shape=replace(SHAPE, layers=4)), seed=0, dtype=float32)
    enable(model, replace(TRAIN, activation_checkpointing=value), on_gpu)
    return [layer.gradient_checkpointing for layer in model.model.layers]


def test_the_first_layers_are_checkpointed() -> None:
    assert checkpointing("all") == [True] * 4
    assert checkpointing(3) == [True, True, True, False]
    assert checkpointing("none") == checkpointing(0) == checkpointing("auto") == [False] * 4
    assert checkpointing("auto", on_gpu=True) == [True] * 4  # before it has measured


def test_more_layers_than_there_are() -> None:
    with pytest.raises(ValueError, match=r"train\.activation_checkpointing=5, but the model has 4 layers"):
        checkpointing(5)


@pytest.mark.parametrize(
    ("capacity", "count"), [(200, 0), (100, 0), (99, 1), (89, 2), (50, 5), (20, 8), (19.9, 9), (10, 9), (9, 10)]
)
def test_as_few_as_fit(capacity: float, count: int) -> None:
    """Ten layers: 10 bytes with one kept, 10 more for each further one."""
    assert checkpointed(10, with_one=10, with_two=20, capacity=capacity) == count


def test_the_largest_batch_is_full_and_its_sequences_as_long_as_may_be() -> None:
    batch = largest_batch(256, longest=100, vocabulary=50)
    assert batch.lengths == (100, 100, 56)
    assert batch.tokens.max() < 50
    assert batch.targets.sum() == 253
