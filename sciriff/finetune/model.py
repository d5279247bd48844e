"""The trained module: a language model and its loss, in the configured precision and with the configured attention."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sciriff.config import Config
from sciriff.finetune import adapters, attention, linear_cross_entropy, router_loss, text_model
from sciriff.finetune.neftune import Noise
from sciriff.finetune.packing import Batch
from sciriff.models import attention_kernels
from sciriff.models.loading import load_config, load_model
from sciriff.run import known_errors
from sciriff.run.messages import show
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class SummedLoss(nn.Module):
    """A causal language model whose forward returns the sum, not the mean, of the cross entropy over target tokens.

    Sums add up over micro-batches and processes. It is one module so that the hooks of DDP and DeepSpeed, which are
    attached to `__call__`, see the whole computation.
    """

    def __init__(
        self, language_model: Any, attention_name: str, cross_entropy: str, router_aux_loss: float = 0.0
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.attention_name = attention_name
        self.cross_entropy = cross_entropy
        self.router_aux_loss = router_aux_loss
        self.boundaries = False
        """Whether the layers are told where rows begin, which some kernels of recurrent layers need."""
        self.one_by_one = False
        """Whether a micro-batch has one row at most, since rows packed together would influence one another."""
        head = language_model.get_output_embeddings()
        self.own_head = not isinstance(head, nn.Linear) or language_model.base_model is language_model
        """True for families with an unusual output layer: their own forward computes the logits of all tokens."""
        if not self.own_head:
            linear_cross_entropy.attach(head, language_model.config.get_text_config(), cross_entropy)
        self.noise: Noise | None = None
        """NEFTune's, with train.neftune_alpha."""

    def expect(self, batch: Batch) -> None:
        """Prepare for the training pass of `batch`, on the CPU."""
        if self.noise is not None:
            self.noise.expect(batch)

    def forward(self, *packed: Any, **own: Any) -> Any:
        """Return `loss` of a micro-batch, or the outputs of the language model's own forward for `own` arguments."""
        return self.language_model(**own) if own else self.loss(*packed)

    def loss(
        self, tokens: Tensor, targets: Tensor, positions: Tensor, lengths: tuple[int, ...], as_logits: bool = False
    ) -> Tensor:
        """Return the loss of a micro-batch (packing.Batch, on the model's device), a float32 scalar; with `as_logits`
        the logits that it is computed from, (target tokens, vocabulary).

        The first token of a sequence is never a target, so the last one of the sequence before predicts nothing. In
        training the gradient is also that of the routers' auxiliary loss (router_loss.py), which the value leaves out.
        """
        predicting, expected = targets[0, 1:], tokens[0, 1:][targets[0, 1:]]
        inputs = {"input_ids": tokens, "use_cache": False}
        if self.one_by_one:
            # The model's own positions and, but for our own functions, its own causal attention.
            if self.attention_name in attention.BY_SEQUENCE:
                inputs |= attention.arguments(self.attention_name, lengths, tokens.device)
        else:
            inputs["position_ids"] = positions
            inputs |= attention.arguments(self.attention_name, lengths, tokens.device, self.boundaries)
        routed = self.router_aux_loss > 0 and self.training
        if routed:
            inputs["output_router_logits"] = True
        if self.own_head or as_logits:
            outputs = self.language_model(**inputs, **self._keep(predicting))
            logits = (outputs.logits[0] if self._keep(predicting) else outputs.logits[0, :-1][predicting]).float()
            if as_logits:
                return logits
            loss = functional.cross_entropy(logits, expected, reduction="sum")
        else:
            outputs = self.language_model.base_model(**inputs)
            # Only positions that predict a target go through the output layer.
            hidden = outputs.last_hidden_state[0, :-1][predicting]
            loss = self.language_model.get_output_embeddings()(hidden, expected)
        if routed:
            loss = loss + router_loss.gradient_only(
                self.language_model, outputs.router_logits, self.router_aux_loss * len(expected)
            )
        return loss

    def _keep(self, predicting: Tensor) -> dict[str, Tensor]:
        """Return the argument that limits the model's own logits to these positions, if it takes one and there are
        some."""
        known = inspect.signature(type(self.language_model).forward).parameters
        positions = predicting.nonzero()[:, 0]
        return {"logits_to_keep": positions} if "logits_to_keep" in known and len(positions) else {}


def build(
    config: Config, device: torch.device, log: Callable[[str], None] = show, resumed: Path | None = None
) -> SummedLoss:
    """Return the model in training mode, on the CPU (QLoRA: on its device; ZeRO-3: already partitioned). Towers that
    text does not reach are frozen, which `log` is told. `resumed` is the checkpoint that will be loaded."""
    attention.register()
    language_model, implementation = _with_attention(config, device)
    if config.deepspeed.zero_stage:
        from transformers.integrations import unset_hf_deepspeed_config

        # With it transformers partitions weights while it reads them; models loaded later must be whole.
        unset_hf_deepspeed_config()
    if config.train.adapts:
        adapters.add(
            language_model,
            config.train,
            seed=config.seed,
            dtype=weights_dtype(config),
            device=device,
            partitioned=config.deepspeed.zero_stage == 3,
            first=adapters.first_of(resumed, config.train) if resumed is not None else None,
        )
    # What model.dtype=bfloat16 will write of them need not be held in more.
    held_in = frozen_dtype(config) if config.model.dtype == "bfloat16" else torch.float32
    if line := text_model.freeze_towers(language_model, held_in):
        log(line)
    if config.deepspeed.zero_stage == 3 and config.deepspeed.whole_layers and not config.train.adapts:
        fetch_layers_whole(language_model)
    cross_entropy = linear_cross_entropy.choose(config.train, device)
    router_loss.check(language_model, config.train)
    model = SummedLoss(language_model, implementation, cross_entropy, config.train.router_aux_loss).train()
    if config.train.neftune_alpha is not None:
        model.noise = Noise(language_model, config.train.neftune_alpha, config.seed)
    return model


def _with_attention(config: Config, device: torch.device) -> tuple[Any, str]:
    """Load the language model. Returns it and transformers' name of its attention: with train.attention=auto the first
    of FlashAttention, SDPA and eager that its family has. UserError if it lacks the one that was asked for."""
    name, by_itself = attention_of_family(config, device), config.train.attention == "auto"
    while True:
        try:
            return _loaded(config, device, name), name
        except ValueError as error:
            if known_errors.NO_FLASH_ATTENTION.search(error):
                lacking, advised, next_one = "FlashAttention", "sdpa", attention.PACKED_SDPA
            elif known_errors.NO_SDPA.search(error):
                lacking, advised, next_one = "SDPA", "eager", attention.PACKED_EAGER
            else:
                raise
            if not by_itself:
                problem = f"{config.model.name} cannot use {lacking}: set train.attention={advised}"
                raise UserError(f"{problem} ({error})") from None
            name = next_one


def attention_of_family(config: Config, device: torch.device) -> str:
    """Return the attention for this model on this device: of those that work here, one that its family takes."""
    name = attention.implementation(config.train, device)
    if name not in attention_kernels.KERNELS or config.model.path is None:
        return name
    taken = compatible_flash_attentions(load_config(config.model))
    if taken is None or name in taken:
        return name
    if config.train.attention != "auto":
        raise UserError(
            f"{config.model.name} takes FlashAttention only as {', '.join(taken)}, and train.attention={name}; use "
            "train.attention=auto"
        )
    return next((one for one in attention.flash_attention(config.train, device) if one in taken), attention.PACKED_SDPA)


def compatible_flash_attentions(config: "PretrainedConfig") -> list[str] | None:
    """Return the only FlashAttentions that a family works with, by transformers' names; None if it names none.

    transformers replaces any other by the first of these, which may be a download from the hub.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    family = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return getattr(family, "_compatible_flash_implementations", None)


def _loaded(config: Config, device: torch.device, implementation: str) -> Any:
    """Load the language model with this attention implementation. UserError if the hub does not give it."""
    try:
        return load_model(
            config.model,
            seed=config.seed,
            dtype=frozen_dtype(config) if config.train.adapts else weights_dtype(config),
            attention=implementation,
            four_bits_on=device if config.train.method == "qlora" else None,
            trains=True,
        )
    except ValueError as error:
        if implementation in attention_kernels.FROM_HUB and implementation in str(error):
            said = shortened(visible_line(str(error).partition("\n")[0]), 200)
            raise UserError(f"the hub gave no kernel for train.attention={implementation}: {said}") from None
        raise


def fetch_layers_whole(language_model: Any) -> None:
    """Let ZeRO-3 treat each layer as one module: one hook and one message in each direction instead of a dozen. Hooks
    dominate the time of a small model on a CPU; not measured on a GPU."""
    from deepspeed.utils import set_z3_leaf_modules

    kinds = {type(layer) for layer in text_model.outermost_layers(language_model)}
    if kinds:
        set_z3_leaf_modules(language_model, sorted(kinds, key=lambda kind: kind.__name__))


def weights_dtype(config: Config) -> torch.dtype:
    """Return the type of trained weights. DeepSpeed makes fp32 master weights from bf16 ones by itself."""
    autocast = config.train.precision == "bf16" and not config.deepspeed.zero_stage
    return torch.float32 if autocast or config.train.precision == "fp32" else torch.bfloat16


def frozen_dtype(config: Config) -> torch.dtype:
    """Return the type of frozen weights: no small update can be lost in them, so bf16 is enough for both bf16 modes."""
    return torch.float32 if config.train.precision == "fp32" else torch.bfloat16


RATE = "rate"
"""Key of a parameter group: the multiple of the learning rate that it gets."""


def parameter_groups(
    model: nn.Module, weight_decay: float, lora_plus_ratio: float | None = None
) -> list[dict[str, Any]]:
    """Return parameter groups for AdamW: matrices decay, norms and biases never do. With `lora_plus_ratio` the matrices
    B of adapters have groups of their own, with that multiple of the learning rate (LoRA+, Hayou et al. 2024, arXiv
    2402.12354)."""
    if lora_plus_ratio is not None:
        groups = parameter_groups(model, weight_decay)
        in_b = {id(parameter) for name, parameter in model.named_parameters() if ".lora_B." in name}
        parts = [
            {**group, "params": [p for p in group["params"] if (id(p) in in_b) == is_b], RATE: rate}
            for group in groups
            for is_b, rate in ((False, 1.0), (True, lora_plus_ratio))
        ]
        return [part for part in parts if part["params"]]
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if weight_decay == 0:
        return [{"params": [parameter for _, parameter in named], "weight_decay": 0.0}]
    # By name: ZeRO-3 replaces a parameter's shape.
    no_decay = {name for name, _ in named if name.endswith("bias") or "norm" in name.rsplit(".", 2)[-2].lower()}
    no_decay |= {name for name, _ in named if ".lora_magnitude_vector." in name}
    return [
        {"params": [p for name, p in named if name not in no_decay], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name in no_decay], "weight_decay": 0.0},
    ]
