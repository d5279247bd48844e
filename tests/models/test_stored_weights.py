"""Checkpoints as people publish them: with weights in eight or four bits, and with some of them missing."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sciriff.config import SAMPLE, ModelConfig
from sciriff.models.loading import load_model
from sciriff.run.user_error import UserError

ROOT = Path(__file__).parents[2]
FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
"""Values of the sixteen four-bit numbers of mxfp4 (OCP Microscaling Formats 1.0, section 5.3.3)."""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`checkpoint("llama")` writes a tiny checkpoint of a family and returns its folder."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tiny_families

    def write(family: str) -> Path:
        tiny_families.save(family, tmp_path, SAMPLE / "tokenizer")
        return tmp_path

    return write


def model_of(folder: Path) -> ModelConfig:
    return ModelConfig(name="t", path=str(folder), chat="tulu", dtype="float32")


def load(folder: Path, **values: Any) -> Any:
    return load_model(model_of(folder), seed=0, dtype=torch.float32, **values)


def say_in_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_weights_in_eight_bits_are_restored_for_training(checkpoint):
    folder = checkpoint("llama")
    file = folder / "model.safetensors"
    weights = load_file(file)
    restored = dict(weights)
    for name in [name for name in weights if "_proj" in name]:
        scale = torch.full([math.ceil(side / 128) for side in weights[name].shape], 0.01)
        weights[name] = (weights[name] / 0.01).to(torch.float8_e4m3fn)
        restored[name] = weights[name].float() * 0.01
        weights[name.replace(".weight", ".weight_scale_inv")] = scale
    save_file(weights, file, {"format": "pt"})
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
    say_in_config(folder, quantization_config={**fp8, "modules_to_not_convert": ["lm_head"]})
    found = load(folder, trains=True).state_dict()
    for name, tensor in restored.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=0)


def test_experts_in_four_bits_are_restored_for_training(checkpoint):
    folder = checkpoint("gpt_oss")
    file = folder / "model.safetensors"
    weights = load_file(file)
    expected = {}
    chance = torch.Generator().manual_seed(0)
    for name in [name for name in weights if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = weights.pop(name).shape
        blocks = torch.randint(256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8, generator=chance)
        scales = torch.full((experts, outputs, inputs // 32), 125, dtype=torch.uint8)
        weights[f"{name}_blocks"], weights[f"{name}_scales"] = blocks, scales
        values = torch.stack([FP4[(blocks & 15).long()], FP4[(blocks >> 4).long()]], -1) * 2.0 ** (125 - 127)
        expected[name] = values.reshape(experts, outputs, inputs).transpose(1, 2)
    assert len(expected) == 4
    save_file(weights, file, {"format": "pt"})
    say_in_config(folder, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    model = load(folder, trains=True, attention="eager")
    found = model.state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)
    assert not hasattr(model.config, "quantization_config") or model.config.quantization_config.dequantize


@pytest.mark.parametrize(
    ("stored", "in_four_bits", "advice"),
    [
        ({"quant_method": "gptq", "bits": 4}, False, "quantised by gptq, which cannot be restored"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, False, "train=qlora trains adapters beside them"),
        ({"quant_method": "mxfp4"}, True, "choose train=lora"),
        ({"quant_method": "of the day after tomorrow"}, False, "quantised by of the day after tomorrow"),
    ],
)
def test_others_are_refused(checkpoint, stored: dict[str, Any], in_four_bits: bool, advice: str):
    folder = checkpoint("llama")
    say_in_config(folder, quantization_config=stored)
    with pytest.raises(UserError, match=advice) as refused:
        load(folder, trains=True, four_bits_on=torch.device("cpu") if in_four_bits else None)
    assert "\n" not in str(refused.value) and f"model.path={folder}" in str(refused.value)


@pytest.mark.parametrize("change", ["without a weight", "of another size"])
def test_a_weight_that_would_be_random_is_refused(checkpoint, change: str):
    folder = checkpoint("llama")
    file = folder / "model.safetensors"
    weights = load_file(file)
    lost = "model.layers.1.mlp.up_proj.weight"
    if change == "without a weight":
        del weights[lost]
    else:
        weights[lost] = weights[lost][:-1].contiguous()
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(UserError, match=lost.replace(".", r"\.")):
        load(folder)
