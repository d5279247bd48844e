"""LoRA, QLoRA and the 8-bit optimizer on a GPU. The stage itself compares the merged folder with what was trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import SHAPE, Compose, losses, make_run, rows_of, tiny_model, train

from sciriff.models.loading import load_model
from sciriff.run.run_dir import RunDir

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
pytest.importorskip("peft")

Make = Callable[..., RunDir]
TIMEOUT = 300

WIDE = replace(SHAPE, hidden=256, heads=4, kv_heads=2, tied_embeddings=False)
MODEL = tiny_model(shape=WIDE, dtype="bfloat16")
LORA: dict[str, Any] = {
    "method": "lora",
    "lora_rank": 8,
    "lora_alpha": 16.0,
    "lora_dropout": 0.0,
    "learning_rate": 1e-2,
}


@pytest.fixture
def make(composed: Compose, tmp_path: Path) -> Make:
    defaults = {"model": MODEL, "precision": "bf16", "max_steps": 20, "activation_checkpointing": "all"}
    return lambda name="run", **values: make_run(composed, tmp_path / name, **{**defaults, **values})


def trained(run: RunDir) -> RunDir:
    train(run, timeout=TIMEOUT, gpus=1)
    return run


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_the_merged_folder_computes_what_the_adapter_on_its_base_does(make: Make, method: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    device = torch.device("cuda")
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    run = trained(make(**{**LORA, "method": method}))
    assert losses(run)[-1] < losses(run)[0] - 0.1
    four_bits = device if method == "qlora" else None
    base = load_model(MODEL, seed=42, dtype=torch.bfloat16, four_bits_on=four_bits).to(device)
    tokens = torch.arange(5, 95, device=device).reshape(2, 45)
    with torch.no_grad():
        apart = PeftModel.from_pretrained(base, str(run.adapter)).eval()(tokens).logits.float()
        merged = AutoModelForCausalLM.from_pretrained(run.model).to(device)(tokens).logits.float()
    assert float((merged - apart).abs().max()) < 0.03 * float(apart.abs().max())


@pytest.mark.parametrize("stage", [0, 3])
def test_lora_in_bf16_follows_fp32(make: Make, stage: int) -> None:
    if stage:
        pytest.importorskip("deepspeed")
    reference = losses(trained(make("fp32", **LORA, precision="fp32")))
    assert losses(trained(make("bf16", **LORA, zero_stage=stage))) == pytest.approx(reference, abs=0.05)


def test_qlora_takes_less_memory_than_lora_and_goes_on_from_a_checkpoint(make: Make) -> None:
    pytest.importorskip("bitsandbytes")
    large = tiny_model(shape=replace(WIDE, layers=8, hidden=1024, intermediate=4096, heads=16), dtype="bfloat16")
    settings = {**LORA, "learning_rate": 1e-3, "model": large, "checkpoint_every": 5, "max_steps": 12}
    lora = trained(make("lora", **settings))
    settings["method"] = "qlora"
    whole, stopped = trained(make("whole", **settings)), make("stopped", **settings)
    assert rows_of(whole)[-1]["memory"] < rows_of(lora)[-1]["memory"]
    stopped.stop_request.touch()
    assert "stopped as asked" in train(stopped, timeout=TIMEOUT, gpus=1)
    stopped.stop_request.unlink()
    assert "resuming from" in train(stopped, timeout=TIMEOUT, gpus=1)
    assert losses(stopped) == pytest.approx(losses(whole), abs=5e-3)


def test_the_8_bit_optimizer_learns_as_adamw_does(make: Make) -> None:
    pytest.importorskip("bitsandbytes")
    one, other = (trained(make(name, optimizer=name)) for name in ("adamw", "adamw_8bit"))
    assert losses(other) == pytest.approx(losses(one), abs=0.1)
