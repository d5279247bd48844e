"""Folders of published models as they are on the hub, of full size, but for their weights: each safetensors file has
its header, and its data is a hole that takes no room on the disk.

The config.json and the names and shapes of the tensors are those of the hub's repositories. They are written out here
apart from transformers' code, so that what is read from the one can be checked against the other.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Tensor = tuple[str, str, list[int]]
"""Name, type, shape."""
TINY = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "vocab_size": 512,
}
"""A config.json of no published model."""
BYTES = {"BF16": 2, "F32": 4, "U8": 1, "I64": 8, "F8_E4M3": 1}


@dataclass(frozen=True)
class Published:
    """A model, its parameters and those of a token in billions as its authors give them, and its files."""

    parameters: int
    active: float
    config: dict[str, Any]
    tensors: Callable[[], Iterator[Tensor]]


def write(name: str, folder: Path) -> Path:
    """Write the folder of a model of PUBLISHED, its weights in two shards, and return it."""
    folder.mkdir(parents=True)
    published = PUBLISHED[name]
    (folder / "config.json").write_text(json.dumps(published.config, indent=2))
    tensors = list(published.tensors())
    for number, shard in enumerate((tensors[::2], tensors[1::2]), start=1):
        write_header(folder / f"model-0000{number}-of-00002.safetensors", shard)
    return folder


def write_header(file: Path, tensors: list[Tensor]) -> None:
    """Write a safetensors file with the header of these tensors and a hole instead of their data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, kind, shape in tensors:
        begin, end = end, end + math.prod(shape) * BYTES[kind]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + end)


def _bf16(prefix: str, **shapes: list[int]) -> Iterator[Tensor]:
    """`_bf16("model.", norm__weight=[8])` is model.norm.weight."""
    return ((prefix + name.replace("__", "."), "BF16", shape) for name, shape in shapes.items())


def _attention(layer: str, hidden: int, queries: int, keys: int) -> Iterator[Tensor]:
    return _bf16(
        f"{layer}self_attn.",
        q_proj__weight=[queries, hidden],
        k_proj__weight=[keys, hidden],
        v_proj__weight=[keys, hidden],
        o_proj__weight=[hidden, queries],
    )


def _mlp(prefix: str, hidden: int, inner: int) -> Iterator[Tensor]:
    into = {"gate_proj__weight": [inner, hidden], "up_proj__weight": [inner, hidden]}
    return _bf16(prefix, **into, down_proj__weight=[hidden, inner])


def _ends(hidden: int, vocabulary: int, prefix: str = "model.") -> Iterator[Tensor]:
    yield from _bf16(prefix, embed_tokens__weight=[vocabulary, hidden], norm__weight=[hidden])
    yield "lm_head.weight", "BF16", [vocabulary, hidden]


def _norms(layer: str, hidden: int, *names: str) -> Iterator[Tensor]:
    return _bf16(layer, **{f"{name}_layernorm__weight": [hidden] for name in names})


def _qwen3_8b() -> Iterator[Tensor]:
    yield from _ends(4096, 151936)
    for layer in (f"model.layers.{number}." for number in range(36)):
        yield from _attention(layer, 4096, 4096, 1024)
        yield from _bf16(f"{layer}self_attn.", q_norm__weight=[128], k_norm__weight=[128])
        yield from _mlp(f"{layer}mlp.", 4096, 12288)
        yield from _norms(layer, 4096, "input", "post_attention")


def _qwen3_30b_a3b() -> Iterator[Tensor]:
    yield from _ends(2048, 151936)
    for layer in (f"model.layers.{number}." for number in range(48)):
        yield from _attention(layer, 2048, 4096, 512)
        yield from _bf16(f"{layer}self_attn.", q_norm__weight=[128], k_norm__weight=[128])
        yield f"{layer}mlp.gate.weight", "BF16", [128, 2048]
        for expert in range(128):
            yield from _mlp(f"{layer}mlp.experts.{expert}.", 2048, 768)
        yield from _norms(layer, 2048, "input", "post_attention")


def _mixtral_8x7b() -> Iterator[Tensor]:
    yield from _ends(4096, 32000)
    for layer in (f"model.layers.{number}." for number in range(32)):
        yield from _attention(layer, 4096, 4096, 1024)
        yield f"{layer}block_sparse_moe.gate.weight", "BF16", [8, 4096]
        for expert in range(8):
            into = {"w1__weight": [14336, 4096], "w3__weight": [14336, 4096]}
            yield from _bf16(f"{layer}block_sparse_moe.experts.{expert}.", **into, w2__weight=[4096, 14336])
        yield from _norms(layer, 4096, "input", "post_attention")


def _gpt_oss_20b() -> Iterator[Tensor]:
    """Its experts are in MXFP4: two weights to a byte, and a scale for each 32."""
    yield from _ends(2880, 201088)
    for layer in (f"model.layers.{number}." for number in range(24)):
        yield from _attention(layer, 2880, 4096, 512)
        biases = {"q_proj__bias": [4096], "k_proj__bias": [512], "v_proj__bias": [512], "o_proj__bias": [2880]}
        yield from _bf16(f"{layer}self_attn.", **biases, sinks=[64])
        yield from _bf16(f"{layer}mlp.router.", weight=[32, 2880], bias=[32])
        for name, rows in (("gate_up_proj", 5760), ("down_proj", 2880)):
            yield f"{layer}mlp.experts.{name}_blocks", "U8", [32, rows, 90, 16]
            yield f"{layer}mlp.experts.{name}_scales", "U8", [32, rows, 90]
            yield f"{layer}mlp.experts.{name}_bias", "BF16", [32, rows]
        yield from _norms(layer, 2880, "input", "post_attention")


def _gemma_3_4b() -> Iterator[Tensor]:
    """A vision tower, a projection of its outputs, and a language model whose output layer is the embedding."""
    text, vision = "language_model.model.", "vision_tower.vision_model."
    yield from _bf16(text, embed_tokens__weight=[262208, 2560], norm__weight=[2560])
    for layer in (f"{text}layers.{number}." for number in range(34)):
        yield from _attention(layer, 2560, 2048, 1024)
        yield from _bf16(f"{layer}self_attn.", q_norm__weight=[256], k_norm__weight=[256])
        yield from _mlp(f"{layer}mlp.", 2560, 10240)
        yield from _norms(layer, 2560, "input", "post_attention", "pre_feedforward", "post_feedforward")
    patches = {"patch_embedding__weight": [1152, 3, 14, 14], "patch_embedding__bias": [1152]}
    yield from _bf16(f"{vision}embeddings.", **patches, position_embedding__weight=[4096, 1152])
    for layer in (f"{vision}encoder.layers.{number}." for number in range(27)):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _bf16(f"{layer}self_attn.{name}.", weight=[1152, 1152], bias=[1152])
        yield from _bf16(f"{layer}mlp.fc1.", weight=[4304, 1152], bias=[4304])
        yield from _bf16(f"{layer}mlp.fc2.", weight=[1152, 4304], bias=[1152])
        for name in ("layer_norm1", "layer_norm2"):
            yield from _bf16(f"{layer}{name}.", weight=[1152], bias=[1152])
    yield from _bf16(f"{vision}post_layernorm.", weight=[1152], bias=[1152])
    projector = {"mm_input_projection_weight": [1152, 2560], "mm_soft_emb_norm__weight": [1152]}
    yield from _bf16("multi_modal_projector.", **projector)


def _olmo_3_7b() -> Iterator[Tensor]:
    yield from _ends(4096, 100278)
    for layer in (f"model.layers.{number}." for number in range(32)):
        yield from _attention(layer, 4096, 4096, 4096)
        yield from _bf16(f"{layer}self_attn.", q_norm__weight=[4096], k_norm__weight=[4096])
        yield from _mlp(f"{layer}mlp.", 4096, 11008)
        yield from _norms(layer, 4096, "post_attention", "post_feedforward")


NEMOTRON_H = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
"""Layers of Nemotron-H: state-space (M), MLP (-), attention (*)."""


def _nemotron_h_8b() -> Iterator[Tensor]:
    yield from _bf16("backbone.", embeddings__weight=[131072, 4096], norm_f__weight=[4096])
    yield "lm_head.weight", "BF16", [131072, 4096]
    for number, kind in enumerate(NEMOTRON_H):
        mixer = f"backbone.layers.{number}.mixer."
        yield f"backbone.layers.{number}.norm.weight", "BF16", [4096]
        if kind == "M":
            yield from _bf16(mixer, in_proj__weight=[18560, 4096], out_proj__weight=[4096, 8192], norm__weight=[8192])
            yield from _bf16(mixer, conv1d__weight=[10240, 1, 4], conv1d__bias=[10240])
            yield from _bf16(mixer, A_log=[128], D=[128], dt_bias=[128])
        elif kind == "-":
            yield from _bf16(mixer, up_proj__weight=[21504, 4096], down_proj__weight=[4096, 21504])
        else:
            inputs = {"q_proj__weight": [4096, 4096], "k_proj__weight": [1024, 4096], "v_proj__weight": [1024, 4096]}
            yield from _bf16(mixer, **inputs, o_proj__weight=[4096, 4096])


PUBLISHED = {
    "qwen3_8b": Published(
        *(8_190_735_360, 8.19),
        {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "head_dim": 128,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "max_position_embeddings": 40960,
            "max_window_layers": 36,
            "num_attention_heads": 32,
            "num_hidden_layers": 36,
            "num_key_value_heads": 8,
            "rope_theta": 1000000,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vocab_size": 151936,
        },
        _qwen3_8b,
    ),
    "qwen3_30b_a3b": Published(
        *(30_532_122_624, 3.3),
        {
            "architectures": ["Qwen3MoeForCausalLM"],
            "model_type": "qwen3_moe",
            "decoder_sparse_step": 1,
            "head_dim": 128,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "max_position_embeddings": 40960,
            "mlp_only_layers": [],
            "moe_intermediate_size": 768,
            "norm_topk_prob": True,
            "num_attention_heads": 32,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 48,
            "num_key_value_heads": 4,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vocab_size": 151936,
        },
        _qwen3_30b_a3b,
    ),
    "mixtral_8x7b": Published(
        *(46_702_792_704, 12.9),
        {
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "max_position_embeddings": 32768,
            "num_attention_heads": 32,
            "num_experts_per_tok": 2,
            "num_hidden_layers": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vocab_size": 32000,
        },
        _mixtral_8x7b,
    ),
    "gpt_oss_20b": Published(
        *(20_914_757_184, 3.6 + 201088 * 2880 / 1e9),  # its authors leave the input embedding out
        {
            "architectures": ["GptOssForCausalLM"],
            "model_type": "gpt_oss",
            "attention_bias": True,
            "experts_per_token": 4,
            "head_dim": 64,
            "hidden_size": 2880,
            "initial_context_length": 4096,
            "intermediate_size": 2880,
            "layer_types": ["sliding_attention", "full_attention"] * 12,
            "max_position_embeddings": 131072,
            "num_attention_heads": 64,
            "num_experts_per_tok": 4,
            "num_hidden_layers": 24,
            "num_key_value_heads": 8,
            "num_local_experts": 32,
            "quantization_config": {
                "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
                "quant_method": "mxfp4",
            },
            "rope_theta": 150000,
            "sliding_window": 128,
            "tie_word_embeddings": False,
            "vocab_size": 201088,
        },
        _gpt_oss_20b,
    ),
    "gemma_3_4b": Published(
        *(4_300_079_472, 3.88),
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "boi_token_index": 255999,
            "eoi_token_index": 256000,
            "image_token_index": 262144,
            "mm_tokens_per_image": 256,
            "text_config": {
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "model_type": "gemma3_text",
                "num_hidden_layers": 34,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window": 1024,
            },
            "torch_dtype": "bfloat16",
            "vision_config": {
                "hidden_size": 1152,
                "image_size": 896,
                "intermediate_size": 4304,
                "model_type": "siglip_vision_model",
                "num_attention_heads": 16,
                "num_hidden_layers": 27,
                "patch_size": 14,
                "vision_use_head": False,
            },
        },
        _gemma_3_4b,
    ),
    "olmo_3_7b": Published(
        *(7_298_011_136, 7.298),
        {
            "architectures": ["Olmo3ForCausalLM"],
            "model_type": "olmo3",
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "layer_types": [*["sliding_attention"] * 3, "full_attention"] * 8,
            "max_position_embeddings": 65536,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 32,
            "rope_theta": 500000,
            "sliding_window": 4096,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "vocab_size": 100278,
        },
        _olmo_3_7b,
    ),
    "nemotron_h_8b": Published(
        *(sum(math.prod(shape) for _, _, shape in _nemotron_h_8b()), 8.1),
        {
            "architectures": ["NemotronHForCausalLM"],
            "model_type": "nemotron_h",
            "auto_map": {
                "AutoConfig": "configuration_nemotron_h.NemotronHConfig",
                "AutoModelForCausalLM": "modeling_nemotron_h.NemotronHForCausalLM",
            },
            "chunk_size": 128,
            "conv_kernel": 4,
            "expand": 2,
            "head_dim": 128,
            "hidden_size": 4096,
            "hybrid_override_pattern": NEMOTRON_H,
            "intermediate_size": 21504,
            "mamba_head_dim": 64,
            "mamba_num_heads": 128,
            "max_position_embeddings": 8192,
            "mlp_hidden_act": "relu2",
            "n_groups": 8,
            "num_attention_heads": 32,
            "num_hidden_layers": 52,
            "num_key_value_heads": 8,
            "ssm_state_size": 128,
            "tie_word_embeddings": False,
            "time_step_limit": [0.0, math.inf],
            "torch_dtype": "bfloat16",
            "use_conv_bias": True,
            "vocab_size": 131072,
        },
        _nemotron_h_8b,
    ),
}
