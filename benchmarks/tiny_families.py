"""Tiny models of the families that people train, from transformers' own config classes, with random weights.

Each has the parts that make its family differ (experts, towers, windows, convolutions, states) in the smallest size at
which these still work. Used by benchmarks/families.py and by tests.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig, PreTrainedModel

CONTEXT = 512
WINDOW = 8
"""Tokens that a sliding window sees: fewer than the rows of a test have."""

TEXT = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
SPARE = 16
"""Rows of the embedding beyond the tokenizer's: the classes of some families add tokens of their own."""
MIXED = ["linear_attention", "full_attention"]


def _config(name: str, vocabulary: int, **values: Any) -> PretrainedConfig:
    """Return a config of transformers' class `name`; AttributeError if this transformers has none."""
    config: PretrainedConfig = getattr(transformers, name)(**{**TEXT, "vocab_size": vocabulary, **values})
    return config


def _with_vision(name: str, text: PretrainedConfig, vision: dict[str, Any], **values: Any) -> PretrainedConfig:
    config: PretrainedConfig = getattr(transformers, name)(text_config=text, vision_config=vision, **values)
    return config


def _plain(name: str, **values: Any) -> Callable[[int], PretrainedConfig]:
    return lambda vocabulary: _config(name, vocabulary, **values)


def _gemma3(vocabulary: int) -> PretrainedConfig:
    text = _config("Gemma3TextConfig", vocabulary, head_dim=32, sliding_window=WINDOW, layer_types=_windowed())
    images = {"mm_tokens_per_image": 4, "boi_token_index": 7, "eoi_token_index": 8, "image_token_index": 9}
    return _with_vision("Gemma3Config", text, {**SIGLIP, "model_type": "siglip_vision_model"}, **images)


def _mistral3(vocabulary: int) -> PretrainedConfig:
    text = _config("MistralConfig", vocabulary, head_dim=32, sliding_window=None)
    vision = {**SIGLIP, "model_type": "pixtral", "head_dim": 32}
    return _with_vision("Mistral3Config", text, vision, image_token_index=9)


def _qwen3_5(vocabulary: int) -> PretrainedConfig:
    text = _config("Qwen3_5TextConfig", vocabulary, **_delta_net())
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 128}
    return _with_vision("Qwen3_5Config", text, vision)


def _gemma4(vocabulary: int) -> PretrainedConfig:
    text = _config(
        "Gemma4TextConfig",
        vocabulary,
        head_dim=32,
        global_head_dim=64,
        sliding_window=WINDOW,
        layer_types=_windowed(),
        vocab_size_per_layer_input=vocabulary,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=0,
    )
    vision = {**SIGLIP, "head_dim": 16, "num_key_value_heads": 2}
    return _with_vision("Gemma4Config", text, vision, audio_config=None)


def _windowed() -> list[str]:
    return ["sliding_attention", "full_attention"]


def _experts(**values: Any) -> dict[str, Any]:
    return {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, **values}


def _delta_net(**values: Any) -> dict[str, Any]:
    sizes = {"linear_num_key_heads": 2, "linear_num_value_heads": 2}
    sizes |= {"linear_key_head_dim": 16, "linear_value_head_dim": 16, "head_dim": 32}
    return {**sizes, "layer_types": MIXED, **values}


FAMILIES: dict[str, Callable[[int], PretrainedConfig]] = {
    "llama": _plain("LlamaConfig"),
    "qwen2": _plain("Qwen2Config"),
    "qwen3": _plain("Qwen3Config", head_dim=32),
    "mistral": _plain("MistralConfig", sliding_window=WINDOW),
    "ministral3": _plain("Ministral3Config", head_dim=32),
    "phi3": _plain("Phi3Config", pad_token_id=0),
    "smollm3": _plain("SmolLM3Config", pad_token_id=0, bos_token_id=1, eos_token_id=2),
    "olmo2": _plain("Olmo2Config", pad_token_id=0),
    "olmo3": _plain("Olmo3Config", sliding_window=WINDOW, layer_types=_windowed(), pad_token_id=0),
    "gemma2": _plain("Gemma2Config", head_dim=32, sliding_window=WINDOW, query_pre_attn_scalar=16),
    "gemma3_text": _plain("Gemma3TextConfig", head_dim=32, sliding_window=WINDOW, layer_types=_windowed()),
    "gemma3": _gemma3,
    "gemma4": _gemma4,
    "mistral3": _mistral3,
    "cohere2": _plain("Cohere2Config", sliding_window=WINDOW, layer_types=_windowed(), pad_token_id=0),
    "granite": _plain("GraniteConfig", logits_scaling=2.0, residual_multiplier=0.5, embedding_multiplier=2.0),
    "glm4": _plain("Glm4Config", head_dim=32, pad_token_id=0, eos_token_id=2),
    "qwen3_moe": _plain("Qwen3MoeConfig", head_dim=32, **_experts()),
    "mixtral": _plain("MixtralConfig", num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    "olmoe": _plain("OlmoeConfig", num_experts=4, num_experts_per_tok=2, pad_token_id=0),
    "gpt_oss": _plain(
        "GptOssConfig",
        head_dim=32,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=WINDOW,
        layer_types=_windowed(),
        pad_token_id=0,
    ),
    "deepseek_v3": _plain(
        "DeepseekV3Config",
        num_key_value_heads=4,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        n_group=2,
        topk_group=1,
        topk_method="noaux_tc",  # which transformers takes for granted, and vLLM does not
        first_k_dense_replace=1,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=16,
        qk_nope_head_dim=32,
        v_head_dim=32,
        pad_token_id=0,
    ),
    "glm4_moe": _plain(
        "Glm4MoeConfig",
        head_dim=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
        pad_token_id=0,
    ),
    "qwen3_5": _qwen3_5,
    "qwen3_next": _plain(
        "Qwen3NextConfig", **_delta_net(), **_experts(shared_expert_intermediate_size=32), decoder_sparse_step=1
    ),
    "granitemoehybrid": _plain(
        "GraniteMoeHybridConfig",
        num_local_experts=4,
        num_experts_per_tok=2,
        shared_intermediate_size=32,
        layer_types=["mamba", "attention"],
        mamba_n_heads=4,
        mamba_d_head=64,
        mamba_d_state=16,
        mamba_n_groups=1,
        mamba_chunk_size=16,
    ),
    "nemotron_h": _plain(
        "NemotronHConfig",
        layers_block_type=["mamba", "attention", "moe"],
        num_hidden_layers=3,
        mamba_num_heads=4,
        mamba_head_dim=32,
        ssm_state_size=16,
        n_groups=1,
        chunk_size=16,
        head_dim=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        moe_shared_expert_intermediate_size=32,
        pad_token_id=0,
    ),
    "falcon_h1": _plain(
        "FalconH1Config",
        head_dim=32,
        mamba_d_ssm=64,
        mamba_n_heads=4,
        mamba_d_head=16,
        mamba_d_state=16,
        mamba_n_groups=1,
        mamba_chunk_size=16,
        pad_token_id=0,
    ),
    "lfm2": _plain(
        "Lfm2Config",
        layer_types=["conv", "full_attention"],
        block_auto_adjust_ff_dim=False,
        conv_dim=128,
        block_dim=128,
    ),
    "mamba2": _plain(
        "Mamba2Config",
        intermediate_size=256,
        num_heads=4,
        head_dim=64,
        state_size=16,
        n_groups=1,
        chunk_size=16,
        pad_token_id=0,
    ),
}
"""Name -> function of the vocabulary's size, by kind: dense, windows, towers, experts, states."""


def with_towers(config: PretrainedConfig) -> PreTrainedModel:
    """Return the random model of a config, with the towers that published checkpoints of the family have."""
    kind = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    model: PreTrainedModel = kind.from_config(config, dtype=torch.float32)
    return model


def save(name: str, folder: Path, tokenizer: Path, *, seed: int = 0, scale: float = 1.0) -> None:
    """Write a checkpoint of this family in float32 with the files of a tokenizer's folder.

    Random weights are those of transformers' own initialisation, times `scale`.
    """
    from transformers import AutoTokenizer

    read = AutoTokenizer.from_pretrained(tokenizer)
    config = FAMILIES[name](len(read) + SPARE)
    for part in {id(one): one for one in (config, config.get_text_config())}.values():
        part.bos_token_id, part.eos_token_id, part.pad_token_id = read.bos_token_id, read.eos_token_id, 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = with_towers(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    model.save_pretrained(folder)
    for file in Path(tokenizer).iterdir():
        if file.is_file() and not (folder / file.name).exists():
            shutil.copy(file, folder)
