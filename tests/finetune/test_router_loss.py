"""The auxiliary loss of routers: its gradient is transformers' own, and it is refused where it would do nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_runs import TRAIN
from transformers import AutoModelForCausalLM

from sciriff.finetune import attention, router_loss
from sciriff.finetune.model import SummedLoss
from sciriff.finetune.packing import Batch, concatenate

ROOT = Path(__file__).parents[2]
COEFFICIENT = 0.5
Build = Callable[[str], Any]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tiny_families

    def model(name: str, implementation: str = attention.PACKED_EAGER) -> Any:
        attention.register()
        torch.manual_seed(0)
        config = tiny_families.FAMILIES[name](101)
        config.router_aux_loss_coef = COEFFICIENT
        return AutoModelForCausalLM.from_config(config, attn_implementation=implementation)

    return model


def rows(*lengths: int) -> list[tuple[np.ndarray, np.ndarray]]:
    chance = np.random.default_rng(0)
    return [(chance.integers(3, 101, length), np.ones(length, np.bool_)) for length in lengths]


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def trained(language_model: Any, coefficient: float, *batches: Batch) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of these micro-batches and the gradient of a step of them."""
    model = SummedLoss(language_model, attention.PACKED_EAGER, "chunked", coefficient).train()
    targets = sum(int(batch.targets.sum()) for batch in batches)
    losses = [model(*batch) for batch in batches]
    for loss in losses:
        (loss / targets).backward()
    return [loss.item() for loss in losses], gradients(language_model)


@pytest.mark.parametrize(
    "name",
    ["qwen3_moe", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt_oss", "mixtral", "granitemoehybrid"))],
)
def test_the_gradient_of_one_row_is_transformers_own(build: Build, name: str) -> None:
    batch = concatenate(rows(20))
    losses, ours = trained(build(name), COEFFICIENT, batch)
    without, plain = trained(build(name), 0.0, batch)
    assert losses == pytest.approx(without), "the value is that of the cross entropy"
    own = build(name, "eager")
    output = own(batch.tokens, labels=batch.tokens, output_router_logits=True)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(losses[0] / 19 + COEFFICIENT * output.aux_loss.item(), rel=1e-5)
    for key, gradient in gradients(own).items():
        assert torch.allclose(ours[key], gradient, rtol=1e-3, atol=1e-6), key
    [router, *_] = [key for key in plain if "router" in key or key.endswith("mlp.gate.weight")]
    assert not torch.allclose(ours[router], plain[router], rtol=0.05)


@pytest.mark.slow
def test_micro_batches_are_averaged_by_their_target_tokens(build: Build) -> None:
    """And neither one without targets nor recomputed activations change anything."""
    one, other = (concatenate([row]) for row in rows(31, 11))
    nothing = concatenate([(np.zeros(1, np.int32), np.zeros(1, np.bool_))])
    _, together = trained(build("qwen3_moe"), COEFFICIENT, one, other, nothing)
    recomputing = build("qwen3_moe")
    recomputing.gradient_checkpointing_enable({"use_reentrant": False})
    _, recomputed = trained(recomputing, COEFFICIENT, one, other)
    _, first = trained(build("qwen3_moe"), COEFFICIENT, one)
    _, second = trained(build("qwen3_moe"), COEFFICIENT, other)
    for key, gradient in together.items():
        assert torch.allclose(gradient, 0.75 * first[key] + 0.25 * second[key], rtol=1e-3, atol=1e-6), key
        assert torch.allclose(gradient, recomputed[key], rtol=1e-3, atol=1e-6), key


def test_validation_is_without_it(build: Build) -> None:
    model = SummedLoss(build("qwen3_moe"), attention.PACKED_EAGER, "chunked", COEFFICIENT).eval()
    with torch.no_grad():
        assert model(*concatenate(rows(9))) > 0


def test_zero_is_said_with_the_models_own_coefficient(build: Build) -> None:
    line = router_loss.describe(build("mixtral"), TRAIN)
    assert line is not None and "train.router_aux_loss=0" in line and "config is 0.5" in line
    assert router_loss.describe(build("mixtral"), replace(TRAIN, router_aux_loss=0.1)) is None
    assert router_loss.describe(build("llama"), TRAIN) is None


@pytest.mark.parametrize("name", ["llama", "deepseek_v3"])
def test_families_without_it_are_refused(build: Build, name: str) -> None:
    language_model = build(name)
    router_loss.check(language_model, TRAIN)
    with pytest.raises(ValueError, match=r"train\.router_aux_loss=0\.1, and \w+ForCausalLM has no router"):
        router_loss.check(language_model, replace(TRAIN, router_aux_loss=0.1))


def test_with_lora_routers_are_frozen() -> None:
    lora = {"method": "lora", "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.0}
    with pytest.raises(
        ValueError, match=r"train\.router_aux_loss=0\.1 is for train=full: with lora routers are frozen"
    ):
        replace(TRAIN, **lora, router_aux_loss=0.1)
