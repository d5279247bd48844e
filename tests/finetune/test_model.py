"""The attention of a model whose family does not support the installed implementation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from finetune_runs import TRAIN, tiny_model
from transformers import Llama4ForCausalLM, Llama4TextConfig

from sciriff.config import Config
from sciriff.finetune import attention
from sciriff.finetune.model import attention_of_family, build
from sciriff.models import attention_kernels
from sciriff.run.user_error import UserError


@pytest.fixture
def config(composed: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Config of a model whose family has no FlashAttention, as if that were installed."""
    sizes = {
        "vocab_size": 4096,
        "hidden_size": 32,
        "intermediate_size": 32,
        "intermediate_size_mlp": 32,
        "head_dim": 16,
    }
    counts = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    Llama4ForCausalLM(Llama4TextConfig(**sizes, **counts, **tokens)).save_pretrained(tmp_path)
    monkeypatch.setattr(attention, "flash_attention", lambda train, device: ["flash_attention_2"])
    model = tiny_model(path=str(tmp_path))
    return replace(composed("experiment=demo", "name=x"), model=model, train=replace(TRAIN, attention="auto"))


def test_auto_falls_back_on_sdpa(config: Config) -> None:
    assert build(config, torch.device("cpu")).attention_name == attention.PACKED_SDPA


def test_what_was_asked_for_by_name_is_refused_with_what_to_do(config: Config) -> None:
    forced = replace(config, train=replace(config.train, attention="flash_attention_2"))
    with pytest.raises(ValueError, match=r"^t cannot use FlashAttention: set train\.attention=sdpa"):
        build(forced, torch.device("cpu"))


def test_every_flash_attention_is_told_where_sequences_begin() -> None:
    for name in attention_kernels.KERNELS:
        given = attention.arguments(name, (3, 1, 5), torch.device("cpu"))
        assert given["cu_seq_lens_q"].tolist() == given["cu_seq_lens_k"].tolist() == [0, 3, 4, 9]
        assert given["cu_seq_lens_q"].dtype == torch.int32
        longest = (given["max_length_q"], given["max_length_k"])
        assert longest == (5, 5) and all(type(one) is int for one in longest), "FlashAttention-4 takes no tensors"


@pytest.mark.parametrize("name", attention_kernels.KERNELS)
def test_a_kernel_that_is_not_here_is_refused_before_anything_is_downloaded(name: str) -> None:
    train = replace(TRAIN, attention=name)
    with pytest.raises(UserError, match=f"train.attention={name} needs a GPU.*: there is no GPU; use train.attention="):
        attention.implementation(train, torch.device("cpu"))


@pytest.mark.skipif(
    not hasattr(getattr(transformers, "GptOssForCausalLM", None), "_compatible_flash_implementations"),
    reason="this transformers does not say which kernels gpt-oss takes",
)
def test_a_family_that_takes_other_kernels_downloads_none(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers would replace FlashAttention-2 by a kernel of the hub for gpt-oss."""
    oss = transformers.GptOssConfig(
        vocab_size=4096, hidden_size=32, intermediate_size=32, head_dim=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, num_local_experts=2, num_experts_per_tok=1,
        pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    oss.save_pretrained(tmp_path / "oss")
    theirs = replace(config, model=tiny_model(path=str(tmp_path / "oss")))
    cpu = torch.device("cpu")
    assert attention_of_family(config, cpu) == "flash_attention_2"
    assert attention_of_family(theirs, cpu) == attention.PACKED_SDPA
    asked = replace(theirs, train=replace(theirs.train, attention="flash_attention_2"))
    with pytest.raises(UserError, match=r"takes FlashAttention only as .*flash_attention_4"):
        attention_of_family(asked, cpu)
    monkeypatch.setattr(attention, "flash_attention", lambda train, device: ["flash_attention_2", "flash_attention_4"])
    assert attention_of_family(theirs, cpu) == "flash_attention_4"
