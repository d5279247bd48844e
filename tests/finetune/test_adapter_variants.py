"""rsLoRA, DoRA, PiSSA, LoRA+ and NEFTune: training, resuming, saving and refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import TRAIN, Compose, finetune, losses, make_run, tiny_model, train, validations

from sciriff.config import SAMPLE, Config
from sciriff.finetune import adapters, finished_model
from sciriff.finetune.model import RATE, SummedLoss, parameter_groups
from sciriff.models.loading import load_model
from sciriff.run.run_dir import RunDir

pytest.importorskip("peft")

Make = Callable[..., RunDir]
LORA: dict[str, Any] = {"method": "lora", "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.0}
NOISY: dict[str, Any] = {"lora_variant": "rslora", "lora_plus_ratio": 4.0, "neftune_alpha": 5.0}
ALTERED = [pytest.param({"lora_variant": name}, marks=pytest.mark.slow) for name in ("dora", "pissa")]
DEEPSPEED_TIMEOUT = 300
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def make(composed: Compose, tmp_path: Path) -> Make:
    settings = {**LORA, "max_steps": 4, "learning_rate": 1e-2}
    return lambda name="run", **values: make_run(composed, tmp_path / name, **{**settings, **values})


def frozen_model() -> Any:
    return load_model(tiny_model(), seed=42, dtype=torch.float32).eval()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("variant", [*ALTERED, NOISY], ids=str)
def test_a_variant_begins_with_the_model_resumes_bit_for_bit_and_is_the_adapter(
    make: Make, variant: dict[str, Any]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    whole, stopped = finetune(make("whole", **variant)), make("stopped", **variant)
    stopped.stop_request.touch()
    finetune(stopped)
    stopped.stop_request.unlink()
    finetune(stopped)
    assert losses(stopped) == losses(whole)
    for file in ("model/model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (stopped.root / file).read_bytes() == (whole.root / file).read_bytes(), file

    if variant is not NOISY:
        full = {"lora_rank": None, "lora_alpha": None, "lora_dropout": None, "method": "full", "max_steps": 1}
        assert losses(whole)[0] == pytest.approx(losses(finetune(make("full", **full)))[0], abs=1e-5)
    tokens = torch.arange(5, 95).reshape(2, 45)
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(whole.model)(tokens).logits
        apart = PeftModel.from_pretrained(frozen_model(), str(whole.adapter))(tokens).logits
        before = frozen_model()(tokens).logits
    assert torch.allclose(merged, apart, atol=1e-4)
    assert not torch.allclose(merged, before, atol=1e-2)
    name = {"dora": "DoRA", "pissa": "PiSSA", "rslora": "rank-stabilised"}[variant["lora_variant"]]
    assert name in (whole.model / "README.md").read_text()


def test_pissa_takes_what_it_began_with_from_a_checkpoint_and_refuses_one_without(tmp_path: Path) -> None:
    """Another seed stands for another device or release of torch: each draws other numbers for the decomposition."""
    train = replace(TRAIN, **LORA, lora_variant="pissa")
    begun, anew, resumed = frozen_model(), frozen_model(), frozen_model()
    adapters.add(begun, train, seed=1, dtype=torch.float32)
    adapters.add(anew, train, seed=2, dtype=torch.float32)
    adapters.save_first(begun, tmp_path)
    adapters.add(resumed, train, seed=2, dtype=torch.float32, first=adapters.first_of(tmp_path, train))
    states = [model.state_dict() for model in (begun, anew, resumed)]
    same = [[torch.equal(states[0][name], other[name]) for name in states[0]] for other in states[1:]]
    assert all(same[1]) and not all(same[0])
    assert adapters.saved(begun, states[0]).keys() == adapters.saved(resumed, states[2]).keys()

    (tmp_path / adapters.FIRST_FILE).unlink()
    with pytest.raises(ValueError, match=rf"lacks {adapters.FIRST_FILE}, .*; delete {tmp_path.parent} to train from"):
        adapters.first_of(tmp_path, train)
    assert adapters.first_of(tmp_path, replace(train, lora_variant=None)) is None


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_pissa_resumes_beside_the_weights_it_began_with_whatever_a_new_decomposition_gives(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decomposition draws random numbers, which are others on a GPU and may be in another release of torch."""
    settings = {"lora_variant": "pissa", "max_steps": 2, "checkpoint_every": 1}
    whole, stopped = finetune(make("whole", **settings)), make("stopped", **settings)
    stopped.stop_request.touch()
    finetune(stopped)
    stopped.stop_request.unlink()
    decompose = torch.svd_lowrank

    def after_another_draw(*arguments: Any, **named: Any) -> Any:
        torch.rand(1)
        return decompose(*arguments, **named)

    monkeypatch.setattr(torch, "svd_lowrank", after_another_draw)
    finetune(stopped)
    assert losses(stopped) == losses(whole)
    for file in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (stopped.root / file).read_bytes() == (whole.root / file).read_bytes(), file


@pytest.mark.usefixtures("in_process")
def test_noise_depends_on_seed_step_and_row_alone_and_spares_validation(make: Make) -> None:
    full = {"lora_rank": None, "lora_alpha": None, "lora_dropout": None, "method": "full", "max_steps": 3}
    full |= {"eval_every": 3, "validation": 8}
    noisy = {**full, "neftune_alpha": 200.0}
    alone, packed, quiet = (
        finetune(make(name, **values))
        for name, values in {
            "alone": {**noisy, "micro_batch_tokens": 100},
            "packed": {**noisy, "micro_batch_tokens": 5000, "activation_checkpointing": "all"},
            "quiet": full,
        }.items()
    )
    assert losses(packed) == pytest.approx(losses(alone), abs=1e-5)
    assert abs(losses(packed)[0] - losses(quiet)[0]) > 1e-3
    assert validations(packed)[0] == pytest.approx(validations(quiet)[0], abs=1e-6)


def test_the_matrices_b_have_their_own_rate_with_and_without_weight_decay() -> None:
    model = frozen_model()
    adapters.add(model, replace(TRAIN, **LORA, lora_variant="dora"), seed=0, dtype=torch.float32)
    model = SummedLoss(model, "eager", "chunked")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for decay in (0.0, 0.1):
        groups = parameter_groups(model, decay, 16.0)
        assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in model.parameters())
        for group in groups:
            for name in (names[id(parameter)] for parameter in group["params"]):
                assert group[RATE] == (16.0 if ".lora_B." in name else 1.0), name
                assert group["weight_decay"] == (0.0 if "magnitude" in name else decay), name


def test_a_merge_that_fails_says_where_the_trained_adapter_is(composed: Callable[..., Config], tmp_path: Path) -> None:
    model, config = frozen_model(), composed("train=lora")
    adapters.add(model, replace(TRAIN, **LORA), seed=0, dtype=torch.float32)
    weights = dict(model.state_dict())
    del weights["model.layers.0.self_attn.q_proj.base_layer.weight"]
    with pytest.raises(ValueError, match=rf"whole in {tmp_path}.*KeyError.*merge_and_unload") as caught:
        finished_model._merge(config, model, weights, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train=lora", "train.lora_variant=dora"], r"lora_variant=dora does not go with deepspeed\.zero_stage=3"),
        (["train=lora", "train.lora_variant=pissa"], r"lora_variant=pissa does not go with deepspeed\.zero_stage=3"),
        (["train=qlora", "train.lora_variant=pissa"], r"pissa does not go with train=qlora"),
        (["train=lora", "train.lora_targets=[experts]"], r"experts.*deepspeed\.zero_stage=3"),
        (["train=lora", "train.lora_plus_ratio=0.5"], r"train\.lora_plus_ratio=0\.5 must be at least 1"),
        (["train=full", "train.lora_variant=dora"], r"lora_variant=dora is for train=lora and train=qlora"),
        (["train=lora", "train.lora_variant=lora"], r"train\.lora_variant=lora"),
        (["train=lora", "train.lora_targets=['(']"], r"train\.lora_targets: \( is no regular expression"),
        (["train=none", "train.neftune_alpha=5"], r"train\.neftune_alpha=5 is for training"),
    ],
)
def test_what_does_not_go_together_is_refused(
    composed: Callable[..., Config], overrides: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        composed(*overrides)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("family", [None, "qwen3_moe"])
def test_qlora_takes_dora_and_adapters_on_experts(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str | None
) -> None:
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model, settings = tiny_model(), {"method": "qlora", "lora_variant": "dora"}
    if family is not None:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        import tiny_families

        tiny_families.save(family, tmp_path / "base", SAMPLE / "tokenizer")
        model = tiny_model(path=str(tmp_path / "base"), tokenizer=None)
        settings = {"method": "qlora", "lora_targets": ["q_proj", "experts"]}
    run = finetune(make(model=model, **settings))
    base = load_model(model, seed=42, dtype=torch.float32, four_bits_on=torch.device("cpu")).eval()
    tokens = torch.arange(5, 95).reshape(2, 45)
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(run.model)(tokens).logits
        before = base(tokens).logits
        apart = PeftModel.from_pretrained(base, str(run.adapter)).eval()(tokens).logits
    assert torch.allclose(merged, apart, atol=1e-4)
    assert not torch.allclose(merged, before, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "variant"),
    [(2, {"lora_variant": "dora", "lora_plus_ratio": 4.0}), (2, {"lora_variant": "pissa"}), (3, NOISY)],
    ids=str,
)
def test_two_processes_train_a_variant_as_one_does(make: Make, stage: int, variant: dict[str, Any]) -> None:
    if stage:
        pytest.importorskip("deepspeed")
    one, two = make("one", **variant), make("two", **variant, num_processes=2, zero_stage=stage)
    train(one)
    output = train(two, timeout=DEEPSPEED_TIMEOUT)
    assert "2 cpu processes" in output
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "targets"), [(3, None), (2, ["q_proj", "experts"])])
def test_two_processes_train_a_mixture_of_experts_as_one_does(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int, targets: list[str] | None
) -> None:
    if stage:
        pytest.importorskip("deepspeed")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import tiny_families

    tiny_families.save("qwen3_moe", tmp_path / "base", SAMPLE / "tokenizer")
    model = tiny_model(path=str(tmp_path / "base"), tokenizer=None)
    settings = {"model": model, "lora_targets": targets, "learning_rate": 1e-3}
    one, two = make("one", **settings), make("two", **settings, num_processes=2, zero_stage=stage)
    train(one)
    output = train(two, timeout=DEEPSPEED_TIMEOUT)
    assert "LoRA: adapters of rank 4" in output
    assert ("experts have none" in output) == (targets is None)
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
