"""Adapters on tiny models of many families: which layers get one, and that merging, saving and peft agree."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from finetune_runs import TRAIN, tiny_model
from largest_file import largest_file

from sciriff.config import DeepspeedConfig
from sciriff.finetune import adapters, adapters_rehearsal

pytest.importorskip("peft")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LORA: dict[str, Any] = {"method": "lora", "lora_rank": 3, "lora_alpha": 5.0, "lora_dropout": 0.0}
TOKENS = torch.arange(5, 95).reshape(2, 45)
EXPERTS = ["experts.down_proj", "experts.gate_up_proj"]

MIXTURES = ["qwen3_moe", "mixtral", "olmoe", "gpt_oss", "deepseek_v3", "glm4_moe", "qwen3_next", "granitemoehybrid"]
OTHERS = ["gemma3", "qwen3_5", "nemotron_h", "falcon_h1"]


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`family(name)` is a tiny random model, the same at every call."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import tiny_families

    def build(name: str) -> Any:
        torch.manual_seed(0)
        return tiny_families.with_towers(tiny_families.FAMILIES[name](256)).eval()

    return build


def adapted(model: Any, **values: Any) -> Any:
    """The model with adapters that change its outputs."""
    adapters.add(model, replace(TRAIN, **{**LORA, **values}), seed=1, dtype=torch.float32)
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert adapters.TRAINED.search(name), name
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def config_of(**values: Any) -> Any:
    train, model = replace(TRAIN, **{**LORA, **values}), tiny_model()
    return SimpleNamespace(train=train, model=model, deepspeed=DeepspeedConfig(zero_stage=0))


WORKERS: Any = SimpleNamespace(rank=0, broadcast=lambda value: value)


def check(build: Any, name: str, folder: Path, **values: Any) -> Any:
    """Rehearse, train a little, save and merge: base with adapter in peft, merged weights and the trained model agree.
    Returns the trained model."""
    from peft import PeftModel

    config = config_of(**values)
    model = adapted(build(name), **values)
    adapters_rehearsal.check(config, model, SimpleNamespace(root=folder), WORKERS)
    assert not list(folder.glob("rehearsal*"))
    weights = dict(model.state_dict())
    adapters.save(model, weights, config.train, config.model, folder / "adapter")
    adapters.merge(model, weights, torch.float32)
    merged, published = build(name), build(name)
    merged.load_state_dict(weights)
    with torch.no_grad():
        before, trained, alone = (m(TOKENS).logits for m in (published, model, merged))
        loaded = PeftModel.from_pretrained(published, str(folder / "adapter")).eval()(TOKENS).logits
    scale = float(trained.abs().max())
    assert torch.allclose(trained, alone, atol=1e-5 * scale), (trained - alone).abs().max()
    assert torch.allclose(trained, loaded, atol=1e-5 * scale), (trained - loaded).abs().max()
    assert not torch.allclose(trained, before, atol=1e-2 * scale)
    return model


def test_a_full_disk_does_not_blame_the_layers(family: Any, tmp_path: Path) -> None:
    model = adapted(family("llama"))
    with largest_file(1000), pytest.raises(ValueError, match=r"rehearsal\.partial could not be .* Make room") as caught:
        adapters_rehearsal.check(config_of(), model, SimpleNamespace(root=tmp_path), WORKERS)
    assert "lora_targets" not in str(caught.value)
    assert "\n" not in str(caught.value)


def quick(names: list[str], *fast: str) -> list[Any]:
    """The names, of which only a few are tested every time."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", quick([*MIXTURES, *OTHERS], "deepseek_v3", "gemma3"))
def test_every_family_is_merged_and_read_by_peft(family: Any, tmp_path: Path, name: str) -> None:
    model = check(family, name, tmp_path)
    layers = [layer for layer, _ in adapters.layers(model)]
    assert layers
    assert not [layer for layer in layers if ".experts" in layer or layer.endswith(("gate", "router", "mlp.gate"))]
    line = adapters.describe(model, config_of().train)
    assert ("routers and experts have none" in line) == (name in [*MIXTURES, "nemotron_h"])
    assert "\n" not in line
    if name == "gemma3":
        assert not [layer for layer in layers if "vision" in layer]


@pytest.mark.parametrize("name", quick(MIXTURES, "qwen3_moe"))
def test_experts_get_adapters_when_they_are_named(family: Any, tmp_path: Path, name: str) -> None:
    model = check(family, name, tmp_path, lora_targets=["q_b_proj" if name == "deepseek_v3" else "q_proj", "experts"])
    kinds = {type(layer).__name__ for _, layer in adapters.layers(model)}
    assert kinds == {"Linear", "ParamWrapper"}
    assert "experts have none" not in adapters.describe(model, config_of(lora_targets=["experts"]).train)


@pytest.mark.parametrize(
    "variant", ["rslora", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dora", "pissa"))]
)
@pytest.mark.parametrize("name", quick(["llama", "qwen3_next"], "llama"))
def test_variants_are_merged_and_read_by_peft(family: Any, tmp_path: Path, name: str, variant: str) -> None:
    check(family, name, tmp_path, lora_variant=variant)
