"""Packing on a GPU: FlashAttention against SDPA, Liger against the chunked loss, checkpointing as memory allows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_runs import SHAPE, TRAIN, Compose, losses, make_run, rows_of, tiny_model, train

from sciriff.finetune import attention
from sciriff.finetune.linear_cross_entropy import chunked, liger
from sciriff.finetune.packing import Batch, concatenate
from sciriff.models.attention_kernels import FLASH
from sciriff.models.loading import load_model
from sciriff.run.run_dir import RunDir

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

WIDE = replace(SHAPE, hidden=256, heads=4, kv_heads=2, tied_embeddings=False)
"""Heads of 64, which every attention kernel takes."""
LENGTHS = (1, 90, 17, 128, 33)


def packed() -> Batch:
    chance = np.random.default_rng(0)
    return concatenate([(chance.integers(10, 4000, n), np.ones(n, np.bool_)) for n in LENGTHS]).to(torch.device("cuda"))


def logits(name: str, batch: Batch) -> torch.Tensor:
    attention.register()
    model: Any = load_model(tiny_model(shape=WIDE), seed=0, dtype=torch.bfloat16, attention=name).cuda()
    inputs = attention.arguments(name, batch.lengths, batch.tokens.device)
    result: torch.Tensor = model(batch.tokens, position_ids=batch.positions, use_cache=False, **inputs).logits
    return result.float()


@pytest.mark.parametrize("name", FLASH)
def test_varlen_logits_are_those_of_sdpa_and_of_each_sequence_by_itself(name: str) -> None:
    if name not in attention.flash_attention(replace(TRAIN, precision="bf16"), torch.device("cuda")):
        pytest.skip(f"{name} is not installed for this GPU")
    batch = packed()
    varlen, sdpa = logits(name, batch), logits(attention.PACKED_SDPA, batch)
    assert torch.allclose(varlen, sdpa, atol=0.03)
    attention.register()
    model: Any = load_model(tiny_model(shape=WIDE), seed=0, dtype=torch.bfloat16, attention="eager").cuda()
    alone = torch.cat([model(tokens).logits for tokens in batch.tokens.split(LENGTHS, 1)], dim=1).float()
    assert torch.allclose(varlen, alone, atol=0.03)


@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.25, None), (1.0, 3.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ligers_loss_is_the_chunked_one(dtype: torch.dtype, scale: float, cap: float | None) -> None:
    pytest.importorskip("liger_kernel")
    torch.manual_seed(0)
    hidden = torch.randn(300, 64, device="cuda", dtype=dtype, requires_grad=True)
    weight = torch.randn(2000, 64, device="cuda", dtype=dtype, requires_grad=True)
    expected = torch.randint(2000, (300,), device="cuda")
    precise = (hidden.double(), weight.double(), None, expected)
    reference = chunked(*precise, scale=scale, cap=cap)
    ours = liger(hidden, weight, None, expected, scale=scale, cap=cap)
    tolerance = 1e-3 if dtype == torch.float32 else 2e-2
    assert ours.item() == pytest.approx(reference.item(), rel=tolerance)
    for one, other in zip(
        torch.autograd.grad(ours, [hidden, weight]), torch.autograd.grad(reference, [hidden, weight]), strict=True
    ):
        assert (one - other).float().norm() <= tolerance * other.float().norm()


def test_the_loss_does_not_hold_all_logits() -> None:
    tokens, vocabulary = 8192, 128_000
    hidden = torch.randn(tokens, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(vocabulary, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    expected = torch.randint(vocabulary, (tokens,), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    chunked(hidden, weight, None, expected).backward()
    assert torch.cuda.max_memory_allocated() < tokens * vocabulary * 2 / 3


Make = Callable[..., RunDir]


@pytest.fixture
def make(composed: Compose, tmp_path: Path) -> Make:
    defaults: dict[str, Any] = {"model": tiny_model(shape=WIDE, dtype="bfloat16"), "precision": "bf16"}
    return lambda name="run", **values: make_run(composed, tmp_path / name, **{**defaults, **values})


@pytest.mark.parametrize("stage", [0, 3])
def test_auto_checkpoints_nothing_where_all_fits_and_learns_the_same(make: Make, stage: int) -> None:
    if stage:
        pytest.importorskip("deepspeed")
    auto = make("auto", activation_checkpointing="auto", zero_stage=stage)
    none = make("none", activation_checkpointing="none", zero_stage=stage)
    assert "0 of 2 layers' activations computed again" in train(auto, timeout=300, gpus=1)
    train(none, timeout=300, gpus=1)
    assert losses(auto) == pytest.approx(losses(none), abs=2e-3)


def test_liger_and_chunked_train_alike(make: Make) -> None:
    pytest.importorskip("liger_kernel")
    one, other = (make(kind, cross_entropy=kind) for kind in ("liger", "chunked"))
    for run in (one, other):
        assert f"cross entropy {run.root.name}" in train(run, timeout=300, gpus=1)
    assert losses(one) == pytest.approx(losses(other), abs=0.02)
    assert rows_of(one)[-1]["memory"] > 0
