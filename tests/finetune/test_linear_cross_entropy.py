"""The chunked loss: equal to the plain one, without a tensor of all logits."""

from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from sciriff.config import TrainConfig
from sciriff.finetune import linear_cross_entropy
from sciriff.finetune.linear_cross_entropy import attach, choose, chunked

TOKENS, WIDTH, VOCABULARY = 300, 16, 2000


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes, forward or backward."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for output in result if isinstance(result, tuple | list) else [result]:
            if isinstance(output, torch.Tensor):
                self.elements = max(self.elements, output.numel())
        return result


def inputs(tokens: int = TOKENS, bias: bool = False) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    hidden, weight = torch.randn(tokens, WIDTH, requires_grad=True), torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    return hidden, weight, torch.randn(VOCABULARY, requires_grad=True), torch.randint(VOCABULARY, (tokens,))


def gradients(loss: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, inputs))


@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.25, None), (1.0, 3.0)])
def test_loss_and_gradients_are_the_plain_ones(
    monkeypatch: pytest.MonkeyPatch, scale: float, cap: float | None
) -> None:
    monkeypatch.setattr(linear_cross_entropy, "LOGITS_AT_ONCE", 70 * VOCABULARY)  # five chunks, the last one smaller
    hidden, weight, bias, expected = inputs()
    logits = functional.linear(hidden, weight, bias) * scale
    plain = functional.cross_entropy(
        logits if cap is None else cap * torch.tanh(logits / cap), expected, reduction="sum"
    )
    ours = chunked(hidden, weight, bias, expected, scale=scale, cap=cap)
    assert ours.item() == pytest.approx(plain.item(), rel=1e-6)
    for one, other in zip(gradients(ours, hidden, weight, bias), gradients(plain, hidden, weight, bias), strict=True):
        assert (one - other).abs().max() <= 1e-6 * other.abs().max()


def test_no_tensor_holds_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 20
    monkeypatch.setattr(linear_cross_entropy, "LOGITS_AT_ONCE", rows * VOCABULARY)
    hidden, weight, bias, expected = inputs()
    with Largest() as largest:
        gradients(chunked(hidden, weight, bias, expected), hidden, weight, bias)
    assert largest.elements == max(rows, WIDTH) * VOCABULARY
    with Largest() as plain:
        gradients(functional.cross_entropy(functional.linear(hidden, weight), expected), hidden, weight)
    assert plain.elements == TOKENS * VOCABULARY  # the recorder does see one


def test_bf16_is_summed_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_cross_entropy, "LOGITS_AT_ONCE", 20 * VOCABULARY)
    hidden, weight, _, expected = inputs()
    loss = chunked(hidden.bfloat16(), weight.bfloat16(), None, expected)
    logits = functional.linear(hidden.bfloat16(), weight.bfloat16())
    exact = functional.cross_entropy(logits.double(), expected, reduction="sum")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


def test_without_a_target_the_loss_is_0_and_has_a_gradient() -> None:
    """ZeRO-3 must see every layer in every micro-batch, also in one without targets."""
    hidden, weight, bias, expected = inputs(tokens=0)
    loss = chunked(hidden, weight, bias, expected)
    assert loss.item() == 0
    assert all((gradient == 0).all() for gradient in gradients(loss, weight, bias))


def test_the_output_layer_still_makes_logits() -> None:
    head = torch.nn.Linear(4, 9, bias=False)
    attach(head, config=object(), kind="chunked")
    hidden = torch.randn(3, 4)
    assert torch.equal(head(hidden), hidden @ head.weight.T)
    assert head(hidden, torch.tensor([1, 2, 3])).shape == ()


def test_liger_is_refused_without_a_gpu() -> None:
    train = TrainConfig(method="full", cross_entropy="liger")
    with pytest.raises(ValueError, match=r"train\.cross_entropy=liger needs a GPU and the package liger-kernel"):
        choose(train, torch.device("cpu"))
    train.cross_entropy = "auto"
    assert choose(train, torch.device("cpu")) == "chunked"
