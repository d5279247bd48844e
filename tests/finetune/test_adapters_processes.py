"""LoRA and QLoRA in processes of their own: DDP, and ZeRO-3, which partitions the frozen weights too."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import Compose, losses, make_run, tiny_model, train

from sciriff.run.run_dir import RunDir

pytest.importorskip("peft")
pytestmark = pytest.mark.slow

Make = Callable[..., RunDir]

LORA: dict[str, Any] = {"method": "lora", "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.0, "learning_rate": 1e-2}
TIMEOUT = 300
"""Seconds. DeepSpeed's first start on a machine compiles a communication operator for up to 100."""


@pytest.fixture
def make(composed: Compose, tmp_path: Path) -> Make:
    return lambda name="run", **values: make_run(composed, tmp_path / name, **{**LORA, **values})


def adapter(run: RunDir) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run.adapter / "adapter_model.safetensors")


def test_lora_under_zero_3_resumes_after_a_stop_and_agrees_with_one_process(make: Make) -> None:
    pytest.importorskip("deepspeed")
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed compiles its CPU operator with g++")
    start = make("start", method="full", lora_rank=None, lora_alpha=None, lora_dropout=None)
    train(start)
    model = tiny_model(path=str(start.model), tokenizer=None)
    one = make("one", model=model)
    two = make("two", model=model, num_processes=2, zero_stage=3, activation_checkpointing="all")
    train(one)
    two.stop_request.touch()
    assert "stopped as asked after step 1" in train(two, timeout=TIMEOUT)
    frozen = (start.model / "model.safetensors").stat().st_size
    assert sum(file.stat().st_size for file in two.checkpoints.rglob("*") if file.is_file()) < frozen / 4
    two.stop_request.unlink()
    output = train(two, timeout=TIMEOUT)
    assert "resuming from" in output
    assert "DeepSpeed ZeRO-3" in output
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    for name, tensor in adapter(one).items():
        assert torch.allclose(adapter(two)[name], tensor, atol=1e-4), name

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tokens = torch.arange(5, 95).reshape(2, 45)
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(two.model)(tokens).logits
        base = AutoModelForCausalLM.from_pretrained(start.model)
        apart = PeftModel.from_pretrained(base, str(two.adapter))(tokens).logits
    assert torch.allclose(merged, apart, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_two_processes_do_what_one_does(make: Make, method: str) -> None:
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    one, two = make("one", method=method), make("two", method=method, num_processes=2)
    train(one)
    assert "2 cpu processes" in train(two)
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    for name, tensor in adapter(one).items():
        assert torch.allclose(adapter(two)[name], tensor, atol=1e-4), name
