"""What is trained: the language model with its loss, in the precision and with the attention that were asked for."""

import importlib.util
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sciriff.config import Config, TrainConfig
from sciriff.pretrained import load_model


class SummedLoss(nn.Module):
    """A causal language model whose forward returns the sum, not the mean, of the cross entropy over target tokens.

    Sums add up over micro-batches and processes; a mean of means would weigh their tokens differently. It is a module
    so that DDP's and DeepSpeed's hooks, which hang on `__call__`, see the whole computation.
    """

    def __init__(self, language_model: Any) -> None:
        super().__init__()
        self.language_model = language_model
        config = language_model.config.get_text_config()
        # Some families scale or cap what the output layer gives; only their own forward knows how.
        odd = ("final_logit_softcapping", "logit_scale", "logits_scaling")
        self.plain_head = not any(getattr(config, name, None) for name in odd)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """`tokens` (rows, length) int64 and `targets` (rows, length) bool -> a scalar, float32.

        The token at t is predicted from those before it. No attention mask is needed: rows are padded on the right,
        and under a causal mask nothing looks to its right.
        """
        predicting, expected = targets[:, 1:], tokens[:, 1:][targets[:, 1:]]
        if self.plain_head:
            # Only target positions go through the output layer: logits are the largest tensor there is.
            hidden = self.language_model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
            logits = self.language_model.get_output_embeddings()(hidden[:, :-1][predicting])
        else:
            logits = self.language_model(input_ids=tokens, use_cache=False).logits[:, :-1][predicting]
        return functional.cross_entropy(logits.float(), expected, reduction="sum")


def build(config: Config, device: torch.device) -> SummedLoss:
    """The model to train, in training mode, on the CPU (or, under ZeRO-3, already shared among the processes)."""
    language_model = load_model(
        config.model,
        seed=config.seed,
        dtype=weights_dtype(config),
        attention=attention(config.train, device),
    )
    if config.deepspeed.zero_stage:
        from transformers.integrations import unset_hf_deepspeed_config

        # It made transformers share the weights out while it read them; whatever is loaded later shall be whole.
        unset_hf_deepspeed_config()
    if config.train.activation_checkpointing == "all":
        # The second name is older, and goes away in transformers 6.
        new = getattr(language_model, "activation_checkpointing_enable", None)
        (new or language_model.gradient_checkpointing_enable)({"use_reentrant": False})
    return SummedLoss(language_model).train()


def weights_dtype(config: Config) -> torch.dtype:
    """Type in which the weights are loaded. DeepSpeed makes fp32 master weights of bf16 ones by itself."""
    match config.train.precision:
        case "fp32":
            return torch.float32
        case "bf16":
            return torch.bfloat16 if config.deepspeed.zero_stage else torch.float32
    return torch.bfloat16


def attention(train: TrainConfig, device: torch.device) -> str:
    """The implementation that `train.attention` stands for on this device. ValueError where it cannot work."""
    installed = importlib.util.find_spec("flash_attn") is not None
    usable = installed and device.type == "cuda" and train.precision != "fp32"
    if train.attention == "auto":
        return "flash_attention_2" if usable else "sdpa"
    if train.attention == "flash_attention_2" and not usable:
        why = (
            "flash-attn is not installed"
            if not installed
            else f"it needs a GPU and bf16, not {device.type} and {train.precision}"
        )
        raise ValueError(f"train.attention=flash_attention_2: {why}; train.attention=auto takes what works")
    return train.attention


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for AdamW: matrices decay, norms and biases never do."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if weight_decay == 0:
        return [{"params": [parameter for _, parameter in named], "weight_decay": 0.0}]
    # By name: under ZeRO-3 a parameter's shape is no longer its own.
    fixed = {name for name, _ in named if name.endswith("bias") or "norm" in name.rsplit(".", 2)[-2].lower()}
    return [
        {"params": [p for name, p in named if name not in fixed], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name in fixed], "weight_decay": 0.0},
    ]
