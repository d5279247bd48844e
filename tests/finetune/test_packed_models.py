"""Packed logits and losses against those of single sequences, for families with special attention or logits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM as Models
from transformers import (
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    GraniteConfig,
    Llama4TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.llama.modeling_llama import LlamaAttention

from sciriff.finetune import attention
from sciriff.finetune.model import SummedLoss
from sciriff.finetune.packing import Batch, concatenate

Family = Callable[[], Any]
SIZES: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
NO_HEAD_DIM = {key: value for key, value in SIZES.items() if key != "head_dim"}
LENGTHS = (1, 17, 5, 30, 2)
WINDOW = 6

FAMILIES: dict[str, Family] = {
    "llama": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama, dynamic rope": lambda: LlamaConfig(
        **SIZES,
        rope_scaling={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0},
        max_position_embeddings=64,
    ),
    "qwen2": lambda: Qwen2Config(**NO_HEAD_DIM),
    "qwen3": lambda: Qwen3Config(**SIZES),
    "mistral, window": lambda: MistralConfig(**SIZES, sliding_window=WINDOW),
    "phi3": lambda: Phi3Config(**NO_HEAD_DIM, sliding_window=None),
    "gemma3, windows and global layers": lambda: Gemma3TextConfig(
        **SIZES,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=8,
        final_logit_softcapping=3.0,
    ),
    "granite, scaled logits": lambda: GraniteConfig(**NO_HEAD_DIM, logits_scaling=4.0),
    "cohere, scaled logits": lambda: CohereConfig(**NO_HEAD_DIM, logit_scale=0.5, bos_token_id=1, eos_token_id=2),
    "gpt2, learnt positions": lambda: GPT2Config(
        vocab_size=101, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    ),
}


WITHOUT_SDPA: dict[str, Family] = {
    "gemma2, scores and logits capped": lambda: Gemma2Config(**SIZES, sliding_window=WINDOW, query_pre_attn_scalar=8),
    "gpt_oss, sinks and windows": lambda: GptOssConfig(
        **SIZES,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        num_local_experts=4,
        num_experts_per_tok=2,
    ),
}
CHUNKS: dict[str, Family] = {
    "llama4, chunks": lambda: Llama4TextConfig(
        **SIZES,
        intermediate_size_mlp=48,
        attention_chunk_size=8,
        layer_types=["chunked_attention", "full_attention", "chunked_attention"],
        num_local_experts=2,
    )
}
"""transformers' own masks of chunks restart with the micro-batch, not with each sequence."""
CASES = [(family, name) for family in FAMILIES for name in (attention.PACKED_SDPA, "eager")]
CASES += [(family, attention.PACKED_EAGER) for family in WITHOUT_SDPA]
CASES += [("gemma2, scores and logits capped", "eager")]  # gpt-oss' mask of its own knows no packed rows
CASES += [(family, attention.PACKED_SDPA) for family in CHUNKS]


def model(family: str, implementation: str) -> Any:
    attention.register()
    torch.manual_seed(0)
    return Models.from_config(
        {**FAMILIES, **WITHOUT_SDPA, **CHUNKS}[family](), attn_implementation=implementation
    ).eval()


def sequences() -> list[tuple[np.ndarray, np.ndarray]]:
    chance = np.random.default_rng(0)
    return [(chance.integers(3, 101, length), chance.random(length) < 0.7) for length in LENGTHS]


def packed() -> Batch:
    return concatenate(sequences())


@pytest.mark.parametrize(("family", "implementation"), CASES)
def test_packed_logits_are_those_of_each_sequence_by_itself(family: str, implementation: str) -> None:
    """The reference is transformers' own eager attention, one sequence at a time, without positions or masks."""
    batch = packed()
    inputs = attention.arguments(implementation, batch.lengths, batch.tokens.device)
    together = model(family, implementation)(
        batch.tokens, position_ids=batch.positions, use_cache=False, **inputs
    ).logits
    alone_model = model(family, "eager")
    alone = [alone_model(tokens, use_cache=False).logits for tokens in batch.tokens.split(LENGTHS, dim=1)]
    assert torch.allclose(together, torch.cat(alone, dim=1), atol=2e-5)


@pytest.mark.slow  # the logits of all families, above, are not
@pytest.mark.parametrize(("family", "implementation"), CASES)
def test_loss_and_gradient_are_those_of_the_models_own_forward(family: str, implementation: str) -> None:
    batch = packed()
    ours, plain = model(family, implementation), model(family, "eager")
    loss = SummedLoss(ours, implementation, "chunked")
    assert loss.own_head == (ours.base_model is ours)  # Llama 4 names no decoder: its own forward makes the logits
    total = loss(*batch)
    total.backward()
    expected = torch.zeros(())
    for tokens, targets in zip(batch.tokens.split(LENGTHS, 1), batch.targets.split(LENGTHS, 1), strict=True):
        labels = torch.where(targets, tokens, -100)[0, 1:]
        expected = expected + functional.cross_entropy(plain(tokens).logits[0, :-1], labels, reduction="sum")
    expected.backward()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, one), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("function", [attention.packed_sdpa, attention.packed_eager])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "attention that is not plainly causal"),
        ({"sequence_lengths": (1, 2), "is_causal": False}, "attention that is not plainly causal"),
        ({"sequence_lengths": (1, 2), "attention_mask": torch.zeros(1, 1, 3, 3)}, "not plainly causal"),
        ({"sequence_lengths": (1, 2), "position_bias": torch.zeros(1)}, "LlamaAttention has position_bias, which SDPA"),
        ({"sequence_lengths": (1, 2), "indices": torch.zeros(1)}, "LlamaAttention has indices, which SDPA"),
    ],
)
def test_what_cannot_be_done_sequence_by_sequence_is_refused(
    function: Any, given: dict[str, Any], message: str
) -> None:
    """Arguments are refused unless they are known: what only a new family needs is not left out in silence."""
    states = torch.zeros(1, 2, 3, 4)
    module = LlamaAttention(LlamaConfig(**SIZES), 0)
    with pytest.raises(attention.UnsupportedAttention, match=message):
        function(module, states, states, states, **{"attention_mask": None, **given})


def test_capped_scores_without_an_eager_attention_are_refused() -> None:
    states = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="Module has softcap, which SDPA cannot"):
        attention.packed_sdpa(torch.nn.Module(), states, states, states, None, sequence_lengths=(1, 2), softcap=30.0)


def test_layers_are_told_where_rows_begin() -> None:
    given = attention.arguments(attention.PACKED_SDPA, (2, 3), torch.device("cpu"), boundaries=True)
    assert given["cu_seq_lens_q"].tolist() == given["cu_seq_lens_k"].tolist() == [0, 2, 5]
    assert given["seq_idx"].tolist() == [[0, 0, 1, 1, 1]]
    assert given["max_length_q"] == given["max_length_k"] == 3
    assert set(attention.arguments(attention.PACKED_SDPA, (2, 3), torch.device("cpu"))) == {"sequence_lengths"}
