"""LoRA and QLoRA in this process: training, resuming, saving, merging and refusals."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import SHAPE, TRAIN, Compose, finetune, losses, make_run, tiny_model

from sciriff.config import Config
from sciriff.driver import plan, preflight
from sciriff.finetune import adapters, throughput
from sciriff.finetune.model import SummedLoss
from sciriff.models.loading import load_model
from sciriff.run.run_dir import RunDir

pytest.importorskip("peft")
pytestmark = pytest.mark.usefixtures("in_process")

Make = Callable[..., RunDir]

LORA: dict[str, Any] = {"method": "lora", "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.0}
QLORA = {**LORA, "method": "qlora"}
METHODS = [LORA, QLORA]


def name(settings: dict[str, Any]) -> str:
    return str(settings["method"])


@pytest.fixture
def make(composed: Compose, tmp_path: Path) -> Make:
    def make_with(name: str = "run", **values: Any) -> RunDir:
        if values.get("method") == "qlora":
            pytest.importorskip("bitsandbytes")
        return make_run(composed, tmp_path / name, **{"max_steps": 6, "learning_rate": 1e-2, **values})

    return make_with


def frozen_model(settings: dict[str, Any]) -> Any:
    """Load the frozen model of these runs as training does."""
    four_bits = torch.device("cpu") if settings["method"] == "qlora" else None
    return load_model(tiny_model(), seed=42, dtype=torch.float32, four_bits_on=four_bits).eval()


TOKENS = torch.arange(5, 95).reshape(2, 45)


@pytest.mark.parametrize("settings", METHODS, ids=name)
def test_the_adapter_on_its_base_and_the_merged_folder_compute_the_same(make: Make, settings: dict[str, Any]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = finetune(make(**settings))
    merged = AutoModelForCausalLM.from_pretrained(run.model).eval()
    assert type(merged).__name__ == "LlamaForCausalLM"
    assert not any("lora" in key for key in merged.state_dict())
    assert "quantization" not in (run.model / "config.json").read_text()
    apart = PeftModel.from_pretrained(frozen_model(settings), str(run.adapter)).eval()
    with torch.no_grad():
        ours, theirs, untrained = (model(TOKENS).logits for model in (merged, apart, frozen_model(settings)))
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, untrained, atol=1e-2)
    frozen = "model.embed_tokens.weight"
    assert torch.equal(merged.state_dict()[frozen], frozen_model(settings).state_dict()[frozen])


@pytest.mark.parametrize("settings", [LORA, pytest.param(QLORA, marks=pytest.mark.slow)], ids=name)
def test_the_curve_does_not_depend_on_micro_batches_or_checkpointing(make: Make, settings: dict[str, Any]) -> None:
    alone = losses(finetune(make("alone", **settings, micro_batch_tokens=100)))
    packed = losses(finetune(make("packed", **settings, micro_batch_tokens=5000)))
    again = losses(finetune(make("again", **settings, micro_batch_tokens=5000, activation_checkpointing="all")))
    assert packed == pytest.approx(alone, abs=1e-5)
    assert again == packed
    assert packed[-1] < packed[0] - 0.02


def test_training_begins_with_the_model_as_it_was(make: Make) -> None:
    first = losses(finetune(make("lora", **LORA, max_steps=1)))
    assert first == pytest.approx(losses(finetune(make("full", max_steps=1))), abs=1e-6)


@pytest.mark.parametrize(
    "settings", [{**LORA, "lora_dropout": 0.3}, pytest.param(QLORA, marks=pytest.mark.slow)], ids=name
)
def test_a_stopped_run_resumes_bit_for_bit_from_the_adapter_alone(make: Make, settings: dict[str, Any]) -> None:
    whole, stopped = finetune(make("whole", **settings)), make("stopped", **settings)
    stopped.stop_request.touch()
    for _ in range(2):
        finetune(stopped)
    state = torch.load(stopped.checkpoints / "step-2" / "state.pt", weights_only=True)
    assert state["model"]
    assert all(".lora_A." in key or ".lora_B." in key for key in state["model"])
    assert len(state["optimizer"]["state"]) == len(state["model"])
    stopped.stop_request.unlink()
    finetune(stopped)
    assert losses(stopped) == losses(whole)
    for file in ("model/model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (stopped.root / file).read_bytes() == (whole.root / file).read_bytes(), file


@pytest.mark.parametrize("precision", ["bf16", pytest.param("bf16_pure", marks=pytest.mark.slow)])
@pytest.mark.parametrize("settings", [LORA, pytest.param(QLORA, marks=pytest.mark.slow)], ids=name)
def test_precisions(make: Make, settings: dict[str, Any], precision: str) -> None:
    from safetensors.torch import load_file

    model = tiny_model(dtype="bfloat16")
    reference = losses(finetune(make("fp32", **settings)))
    run = finetune(make("half", **settings, precision=precision, model=model))
    assert losses(run) == pytest.approx(reference, abs=0.05)
    types = {tensor.dtype for tensor in load_file(run.adapter / "adapter_model.safetensors").values()}
    assert types == {torch.float32 if precision == "bf16" else torch.bfloat16}


def test_only_the_layers_that_are_named_get_an_adapter(make: Make) -> None:
    import json

    run = finetune(make(**LORA, lora_targets=["v_proj", "q_proj"], max_steps=1))
    about = json.loads((run.adapter / "adapter_config.json").read_text())
    assert about["target_modules"] == ["q_proj", "v_proj"]
    assert (about["r"], about["lora_alpha"], about["base_model_name_or_path"]) == (4, 8.0, None)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("q_porj", "there is no linear layer q_porj to adapt; .*q_proj"),
        ("lm_head", "lm_head gets no adapter: .*output"),
    ],
)
def test_a_layer_that_cannot_be_adapted_is_refused(make: Make, target: str, problem: str) -> None:
    untied = tiny_model(shape=replace(SHAPE, tied_embeddings=False))
    with pytest.raises(ValueError, match=rf"train\.lora_targets: {problem}"):
        finetune(make(**LORA, lora_targets=["v_proj", target], model=untied))


def families() -> dict[str, Any]:
    from transformers import GPT2Config, Qwen2Config

    small = {"vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return {
        "transposed layers with biases": GPT2Config(vocab_size=101, n_embd=32, n_layer=2, n_head=4),
        "some layers with biases": Qwen2Config(**small, **heads, tie_word_embeddings=True),
    }


@pytest.mark.parametrize("family", ["transposed layers with biases", "some layers with biases"])
def test_other_families_are_merged_too(family: str) -> None:
    from transformers import AutoModelForCausalLM

    config = families()[family]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    adapters.add(model, replace(TRAIN, **LORA), seed=1, dtype=torch.float32)
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad == (".lora_" in key), key
        if ".lora_B." in key:
            torch.nn.init.normal_(parameter, std=0.5)
    weights = dict(model.state_dict())
    adapters.merge(model, weights, torch.float32)
    plain = AutoModelForCausalLM.from_config(config).eval()
    plain.load_state_dict(weights)
    with torch.no_grad():
        assert torch.allclose(plain(TOKENS).logits, model(TOKENS).logits, atol=1e-5)


def test_the_work_of_a_frozen_weight_is_two_thirds_of_a_trained_ones() -> None:
    model = frozen_model(LORA)
    whole = throughput.matrix_parameters(model)
    adapters.add(model, replace(TRAIN, **LORA), seed=0, dtype=torch.float32)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert throughput.matrix_parameters(model) == pytest.approx(whole * 2 / 3 + trained, abs=2)


def test_four_bits_hide_no_weights_from_the_count() -> None:
    pytest.importorskip("bitsandbytes")
    loss = SummedLoss(frozen_model(QLORA), "eager", "chunked")
    kept = sum(p.numel() for p in loss.language_model.parameters() if p.requires_grad)  # embeddings and norms
    whole = throughput.matrix_parameters(frozen_model(LORA))
    assert throughput.matrix_parameters(loss.language_model) == pytest.approx(kept + (whole - kept) * 2 / 3, abs=2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train=qlora", "deepspeed=zero3"], r"train=qlora does not go with deepspeed\.zero_stage=3.*deepspeed=none"),
        (["train=full", "train.lora_rank=8"], r"train\.lora_rank=8 is for train=lora and train=qlora"),
        (["train=lora", "train.lora_targets=[]"], r"train\.lora_targets=\[\] gives no layer an adapter"),
        (["train=lora", "train.lora_dropout=1"], r"train\.lora_dropout=1\.0 must be at least 0 and below 1"),
        (["train=full", "train.method=lora"], r"train\.method=lora needs train\.lora_rank"),
        (["train=full", "train.optimizer=adamw_8bit"], r"adamw_8bit does not go with deepspeed\.zero_stage=3"),
    ],
)
def test_what_makes_no_sense_is_refused(composed: Callable[..., Config], overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        composed(*overrides)


def test_qlora_is_chosen_without_deepspeed_and_lora_with_it(composed: Callable[..., Config]) -> None:
    assert composed("train=qlora").deepspeed.zero_stage == 0
    assert composed("train=lora").deepspeed.zero_stage == 3
    assert composed("train=lora").train.learning_rate == 1e-4


NEEDS = "{} needs the package {}, which is missing: pip install 'sciriff[{}]'"


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["train=lora"], [("train=lora", "peft", "train")]),
        (["train=qlora"], [("train=qlora", "peft", "train"), ("train=qlora", "bitsandbytes", "qlora")]),
        (["train.optimizer=adamw_8bit"], [("train.optimizer=adamw_8bit", "bitsandbytes", "qlora")]),
        ([], []),
    ],
)
def test_a_missing_package_is_one_line_before_anything_starts(
    composed: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    wanted: list[tuple[str, str, str]],
) -> None:
    config = composed("experiment=demo", "log=none", f"run_dir={tmp_path}", *overrides)
    planned = plan.make(config)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(preflight.problems(config, planned)) == [NEEDS.format(*need) for need in wanted]
