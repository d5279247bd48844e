"""What is trained: the language model with its loss, in the precision and with the attention that were asked for."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sciriff.config import Config
from sciriff.finetune import adapters, attention, linear_cross_entropy
from sciriff.models.loading import load_model
from sciriff.run import known_errors
from sciriff.run.user_error import UserError


class SummedLoss(nn.Module):
    """A causal language model whose forward returns the sum, not the mean, of the cross entropy over target tokens.

    Sums add up over micro-batches and processes; a mean of means would weigh their tokens differently. It is a module
    so that DDP's and DeepSpeed's hooks, which hang on `__call__`, see the whole computation.
    """

    def __init__(self, language_model: Any, attention_name: str, cross_entropy: str) -> None:
        super().__init__()
        self.language_model = language_model
        self.attention_name = attention_name
        self.cross_entropy = cross_entropy
        head = language_model.get_output_embeddings()
        self.own_head = not isinstance(head, nn.Linear)
        """Take the logits of all tokens from the model's own forward: for families with a head of their own kind."""
        if not self.own_head:
            linear_cross_entropy.attach(head, language_model.config.get_text_config(), cross_entropy)

    def forward(
        self,
        tokens: torch.Tensor,
        targets: torch.Tensor,
        positions: torch.Tensor,
        lengths: tuple[int, ...],
        as_logits: bool = False,
    ) -> torch.Tensor:
        """A micro-batch (packing.Batch, on the model's device) -> a scalar, float32; or, `as_logits`, what the loss is
        computed of: (target tokens, vocabulary).

        The token at t is predicted from those before it in its sequence. A sequence's first token is never a target,
        so that its predecessor in the micro-batch predicts nothing.
        """
        predicting, expected = targets[0, 1:], tokens[0, 1:][targets[0, 1:]]
        inputs = {"input_ids": tokens, "position_ids": positions, "use_cache": False}
        inputs |= attention.arguments(self.attention_name, lengths, tokens.device)
        if self.own_head or as_logits:
            logits = self.language_model(**inputs).logits[0, :-1][predicting]
            return logits.float() if as_logits else functional.cross_entropy(logits.float(), expected, reduction="sum")
        hidden = self.language_model.base_model(**inputs).last_hidden_state
        # Only what predicts a target goes through the output layer.
        return self.language_model.get_output_embeddings()(hidden[0, :-1][predicting], expected)


def build(config: Config, device: torch.device) -> SummedLoss:
    """The model to train, in training mode, on the CPU (or, under ZeRO-3, already shared among the processes, and with
    QLoRA on its device)."""
    implementation = attention.implementation(config.train, device)
    attention.register()
    try:
        language_model = _loaded(config, device, implementation)
    except ValueError as error:
        if not known_errors.NO_FLASH_ATTENTION.search(error):
            raise
        if config.train.attention != "auto":
            raise UserError(
                f"{config.model.name} cannot use FlashAttention: set train.attention=sdpa ({error})"
            ) from None
        implementation = attention.PACKED_SDPA
        language_model = _loaded(config, device, implementation)
    if config.deepspeed.zero_stage:
        from transformers.integrations import unset_hf_deepspeed_config

        # It made transformers share the weights out while it read them; whatever is loaded later shall be whole.
        unset_hf_deepspeed_config()
    if config.train.adapts:
        adapters.add(language_model, config.train, seed=config.seed, dtype=weights_dtype(config))
    if config.deepspeed.zero_stage == 3 and config.deepspeed.whole_layers and not config.train.adapts:
        fetch_layers_whole(language_model)
    cross_entropy = linear_cross_entropy.choose(config.train, device)
    return SummedLoss(language_model, implementation, cross_entropy).train()


def _loaded(config: Config, device: torch.device, implementation: str) -> Any:
    """The language model with this implementation of attention. UserError where its family cannot have it."""
    try:
        return load_model(
            config.model,
            seed=config.seed,
            dtype=frozen_dtype(config) if config.train.adapts else weights_dtype(config),
            attention=implementation,
            four_bits_on=device if config.train.method == "qlora" else None,
        )
    except ValueError as error:
        if known_errors.NO_SDPA.search(error):
            raise UserError(f"{config.model.name} cannot use SDPA: set train.attention=eager ({error})") from None
        raise


def fetch_layers_whole(language_model: Any) -> None:
    """Tell ZeRO-3 to treat each layer as one module: one hook in each direction instead of a dozen, one message.

    Hooks are most of what a small model does on a CPU; what this brings on a GPU has not been measured.
    """
    from deepspeed.utils import set_z3_leaf_modules
    from transformers.modeling_layers import GradientCheckpointingLayer

    kinds = {type(module) for module in language_model.modules() if isinstance(module, GradientCheckpointingLayer)}
    if kinds:
        set_z3_leaf_modules(language_model, sorted(kinds, key=lambda kind: kind.__name__))


def weights_dtype(config: Config) -> torch.dtype:
    """Type of the weights that are trained. DeepSpeed makes fp32 master weights of bf16 ones by itself."""
    match config.train.precision:
        case "fp32":
            return torch.float32
        case "bf16":
            return torch.bfloat16 if config.deepspeed.zero_stage else torch.float32
    return torch.bfloat16


def frozen_dtype(config: Config) -> torch.dtype:
    """Type of the weights that stay as they are: no small change is lost in them, so that none needs fp32 in bf16."""
    return torch.float32 if config.train.precision == "fp32" else torch.bfloat16


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
