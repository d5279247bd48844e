"""The memory formulas against manual calculations, peaks measured on a GPU, and what autograd keeps."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from finetune_runs import tiny_model
from torch.utils._python_dispatch import TorchDispatchMode

from sciriff.config import Config, ShapeConfig, TrainConfig
from sciriff.finetune import activation_checkpointing, adapters, attention
from sciriff.finetune.model import SummedLoss
from sciriff.models.loading import load_model
from sciriff.models.measured_shape import shape_of_model
from sciriff.models.training_memory import fits, layer_bytes, resident_weights, trained_parameters, training_memory

Compose = Callable[..., Config]

PURE = ("model=llama2_7b", "deepspeed=none", "train.precision=bf16_pure")


@pytest.mark.parametrize(
    ("tokens", "checkpointing", "peak"),
    [(8192, "all", 54), (16_384, "all", 57), (4096, "none", 66), (8192, 16, 68), (12_288, 24, 65)],
)
def test_peaks_that_were_measured_on_an_h100(composed: Compose, tokens: int, checkpointing: Any, peak: float) -> None:
    """GiB of a plain loop over packed micro-batches of a 7B shape in pure bf16, with FlashAttention.

    With layers kept, the plan is 7 to 11 % above: that loop's kernels kept less of a layer than transformers' own.
    """
    config = composed(*PURE, f"train.micro_batch_tokens={tokens}", f"train.activation_checkpointing={checkpointing}")
    assert training_memory(config, 1, on_gpu=True).allocated == pytest.approx(peak, rel=0.15)


def test_the_peak_under_offload_that_was_measured(composed: Compose) -> None:
    """12 layers of that shape under ZeRO-3 with the optimizer on the CPU: 9 GiB."""
    config = composed("model=llama2_7b", "model.shape.layers=12", "deepspeed=zero3_offload")
    assert training_memory(config, 1, on_gpu=True, capacity=80).allocated == pytest.approx(9, rel=0.15)


def test_states_of_7b_by_hand(composed: Compose) -> None:
    """6.74e9 weights: 12.55 GiB in bf16, gradients in fp32 25.1, an fp32 master copy and two moments 75.3."""
    config = composed("model=llama2_7b")
    alone = training_memory(config, 1, on_gpu=True)
    assert (alone.weights, alone.gradients, alone.optimizer) == pytest.approx((12.55, 25.1, 75.31), abs=0.01)
    shared = training_memory(config, 8, on_gpu=True)
    assert shared.weights == pytest.approx(alone.weights / 8)
    assert shared.optimizer == pytest.approx(alone.optimizer / 8)
    assert shared.activations == alone.activations
    zero2 = training_memory(composed("model=llama2_7b", "deepspeed=zero2"), 8, on_gpu=True)
    assert (zero2.weights, zero2.gradients) == pytest.approx((12.55, 25.1 / 8), abs=0.01)
    offload = training_memory(composed("model=llama2_7b", "deepspeed=zero3_offload"), 8, on_gpu=True)
    assert offload.optimizer == offload.gradients == 0


def test_autocast_and_ddp_keep_copies(composed: Compose) -> None:
    config = composed("model=llama2_7b", "deepspeed=none")
    alone, two = (training_memory(config, count, on_gpu=True) for count in (1, 2))
    assert alone.buffers == pytest.approx(12.55, abs=0.01)
    assert two.buffers == pytest.approx(12.55 + 25.1, abs=0.01)


def test_logits_do_not_grow_with_the_vocabulary(composed: Compose) -> None:
    small, large = (composed(f"model={name}") for name in ("llama2_7b", "llama3_8b"))
    assert training_memory(small, 1, on_gpu=True).logits == training_memory(large, 1, on_gpu=True).logits < 1


def test_activations_of_kept_and_recomputed_layers(composed: Compose) -> None:
    """8,192 tokens of width 4,096: a hidden state is 64 MiB in bf16, and one layer is always whole."""

    def gib(value: object, on_gpu: bool = True) -> float:
        config = composed("model=llama2_7b", f"train.activation_checkpointing={value}")
        return training_memory(config, 1, on_gpu=on_gpu).activations

    state = 2**26 / 2**30
    layer = 8192 * (24 * 4096 + 8 * 11008) / 2**30
    assert gib("all") == gib("auto") == pytest.approx(32 * state + layer)
    assert gib("none") == gib(0) == pytest.approx(32 * layer)
    assert gib(16) == pytest.approx(16 * state + 16 * layer)
    assert gib("auto", on_gpu=False) == gib("none", on_gpu=False)


def test_adapters_by_hand(composed: Compose) -> None:
    """Rank 64 beside q, k, v, o (4,096 to 4,096) and gate, up, down (4,096 to 11,008) of 32 layers."""
    config = composed("model=llama2_7b", "train=lora")
    by_hand = 32 * 64 * (4 * 8192 + 3 * (4096 + 11008))
    assert trained_parameters(config) == by_hand
    two = composed("model=llama2_7b", "train=lora", "train.lora_targets=[q_proj,v_proj]")
    assert trained_parameters(two) == 32 * 64 * 2 * 8192
    lengths = 32 * (4 * 4096 + 2 * 11008 + 4096)
    assert (
        trained_parameters(composed("model=llama2_7b", "train=qlora", "train.lora_variant=dora")) == by_hand + lengths
    )
    some = ["train.lora_targets=['.*[.][0-7][.].*_proj',layers.9.self_attn.q_proj]", "train.lora_exclude=[down_proj]"]
    by_hand_too = 8 * 64 * (4 * 8192 + 2 * (4096 + 11008)) + 64 * 8192
    assert trained_parameters(composed("model=llama2_7b", "train=lora", *some)) == by_hand_too
    assert training_memory(config, 1, on_gpu=True).weights == pytest.approx((6.738e9 + by_hand) * 2 / 2**30, rel=1e-3)


def test_qlora_of_7b_fits_24_gb(composed: Compose) -> None:
    config = composed("model=llama2_7b", "train=qlora")
    memory = training_memory(config, 1, on_gpu=True)
    assert memory.weights < 5
    assert fits(memory, 22.5)  # what drivers call 24 GB


@pytest.mark.parametrize("memory", [24, 30, 40, 80])
@pytest.mark.parametrize("overrides", [(), ("train=lora",), ("deepspeed.resident_weights=none",)])
def test_resident_weights_take_what_is_left_and_no_more(
    composed: Compose, memory: float, overrides: tuple[str, ...]
) -> None:
    config = composed("model=llama2_7b", *overrides)
    least = training_memory(config, 8, on_gpu=True)
    with_them = training_memory(config, 8, on_gpu=True, capacity=memory)
    resident = resident_weights(config, 8, memory)
    assert 0 <= resident <= config.model.shape.parameters
    assert least.total <= with_them.total <= max(least.total, 0.86 * memory)
    assert (resident == 0) is (with_them == least)
    if not overrides:
        assert (resident == config.model.shape.parameters) is (memory >= 40)


# The next tests measure what autograd saves of a layer, in bytes per token. The formula leaves out only a few bytes:
# the norms' reciprocal roots and attention's log-sum-exp.
SHAPE = ShapeConfig(layers=1, hidden=256, intermediate=688, heads=4, kv_heads=4, vocabulary=4096, context=512)


def kept(shape: ShapeConfig, kind: str, checkpointed: int) -> int:
    """Bytes that a forward pass over 512 tokens keeps, without weights."""
    tokens = 512
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    attention.register()
    language_model: Any = load_model(tiny_model(shape=shape), seed=0, dtype=dtype, attention=attention.PACKED_SDPA)
    train = TrainConfig(method="full", activation_checkpointing=checkpointed)
    activation_checkpointing.enable(language_model, train, on_gpu=False)
    model = SummedLoss(language_model, attention.PACKED_SDPA, "chunked").train()
    shapes = {parameter.shape for parameter in model.parameters() if parameter.dim() == 2}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen: dict[int, int] = {}
    alive = []

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        weight_in_bf16 = tensor.shape in shapes or tensor.shape[::-1] in shapes
        if storage.data_ptr() not in own and not weight_in_bf16:
            seen[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    ids = torch.arange(tokens)[None]
    targets = torch.arange(tokens)[None] > 0
    with (
        torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"),
    ):
        model(ids, targets, ids, (tokens,))
    return sum(seen.values())


@pytest.mark.parametrize(("kv_heads", "head_width"), [(4, None), (1, None), (2, 96)])
@pytest.mark.parametrize("kind", ["bf16", "fp32", "autocast"])
def test_a_layer_keeps_what_the_formula_says(kind: str, kv_heads: int, head_width: int | None) -> None:
    shape = replace(SHAPE, kv_heads=kv_heads, head_width=head_width)
    measured = (kept(replace(shape, layers=3), kind, 0) - kept(replace(shape, layers=2), kind, 0)) / 512
    assert measured == pytest.approx(layer_bytes(shape, kind), rel=0.02)


@pytest.mark.parametrize(("kind", "width"), [("bf16", 2), ("fp32", 4), ("autocast", 4)])
def test_a_layer_that_is_computed_again_keeps_its_input(kind: str, width: int) -> None:
    assert kept(replace(SHAPE, layers=3), kind, 3) - kept(replace(SHAPE, layers=2), kind, 2) == 512 * 256 * width


class LiveBytes(TorchDispatchMode):
    """Bytes of tensors that operations have made and that are alive, at the most."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.now = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, list | tuple) else [made]:
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage.data_ptr() and storage.data_ptr() not in self.alive:
                self.alive.add(storage.data_ptr())
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self.freed, storage.data_ptr(), storage.nbytes())
        return made

    def freed(self, address: int, count: int) -> None:
        self.alive.discard(address)
        self.now -= count


@pytest.mark.parametrize("checkpointed", ["all", "none"])
def test_adapters_on_experts_keep_a_second_copy_of_them(composed: Compose, checkpointed: str) -> None:
    """The peak of a forward and backward pass with adapters on experts, above that without."""
    pytest.importorskip("peft")
    import transformers

    names = ["q_proj", "k_proj", "v_proj", "o_proj"]
    overrides = ("train=lora", "deepspeed=none", "train.lora_rank=2", "train.lora_dropout=0", "train.max_length=16")
    overrides += ("train.micro_batch_tokens=16", f"train.activation_checkpointing={checkpointed}")
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"num_hidden_layers": 3, "vocab_size": 128, "head_dim": 32, "pad_token_id": 0}
    sizes |= {"moe_intermediate_size": 64, "num_experts": 32, "num_experts_per_tok": 2}
    attention.register()
    measured, planned = [], []
    for targets in (names, [*names, "experts"]):
        config = composed(*overrides, f"train.lora_targets={targets}".replace(" ", ""))
        family = transformers.Qwen3MoeConfig(**sizes)
        model = transformers.AutoModelForCausalLM.from_config(family, dtype=torch.bfloat16)
        config = replace(config, model=replace(config.model, shape=shape_of_model(model, 8192)[0]))
        memory = training_memory(config, 1, on_gpu=False)
        planned.append((memory.activations + memory.gradients) * 2**30)
        adapters.add(model, config.train, seed=0, dtype=torch.float32)
        activation_checkpointing.enable(model, config.train, on_gpu=False)
        trained = SummedLoss(model, "sdpa", "chunked").train()
        ids = torch.arange(16)[None]
        with LiveBytes() as live, torch.autocast("cpu", torch.bfloat16):
            trained(ids, ids > 0, ids, (16,)).backward()
        measured.append(live.peak)
    more = measured[1] - measured[0]
    assert more <= planned[1] - planned[0] <= 1.15 * more


@pytest.mark.parametrize("kind", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("Gemma3TextConfig", {"layer_types": ["full_attention"] * 2}),
        ("Qwen3MoeConfig", {"moe_intermediate_size": 128, "num_experts": 16, "num_experts_per_tok": 4}),
        ("MixtralConfig", {"num_local_experts": 8, "intermediate_size": 256, "sliding_window": None}),
    ],
)
def test_a_layer_of_another_family_keeps_about_what_the_rule_says(family: str, values: Any, kind: str) -> None:
    import transformers

    sizes = {"hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"head_dim": 64, "vocab_size": 512, "max_position_embeddings": 256, "pad_token_id": 0, **values}

    def built(layers: int) -> Any:
        sizes["num_hidden_layers"] = layers
        sizes.update({"layer_types": values["layer_types"][:layers]} if "layer_types" in values else {})
        config = getattr(transformers, family)(**sizes)
        dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(dtype).train()

    def kept_by(model: Any) -> int:
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        seen: dict[int, int] = {}
        alive = []

        def save(tensor: torch.Tensor) -> torch.Tensor:
            if (storage := tensor.untyped_storage()).data_ptr() not in own:
                seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            model.model(input_ids=torch.arange(256)[None], use_cache=False).last_hidden_state.sum()
        return sum(seen.values())

    one, two = built(1), built(2)
    shape, _ = shape_of_model(two, 8192)
    assert (kept_by(two) - kept_by(one)) / 256 == pytest.approx(layer_bytes(shape, kind), rel=0.2)
