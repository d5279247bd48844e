"""train: how a model learns."""

import re
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from sciriff.config.roles import HOW, setting
from sciriff.run.user_error import UserError

HUB_KERNELS = ("kernels-community/flash-attn2", "kernels-community/flash-attn3")
ATTENTIONS = ("auto", "flash_attention_3", "flash_attention_2", "flash_attention_4", *HUB_KERNELS, "sdpa", "eager")
CHECKPOINTS_KEPT = 2
"""Newest checkpoints that are kept, so that a damaged one costs only the steps since the one before."""
LOGITS_AT_ONCE = 1 << 25
"""Logits that the training loss makes at a time: 128 MiB in fp32, 1,048 tokens of a vocabulary of 32,000, which keep a
GPU busy."""
TASK_MEAN = "task_mean"
BEST_BY = ("science_loss", "general_loss", TASK_MEAN)
TRAIN_SPLIT, VALIDATION_ROWS, REPORTED = BEST_FROM = ("train_split", "validation_rows", "reported")
BEST_ROWS = 16
"""`train.best_rows`, where it is null."""
LORA_PATTERN = re.compile(r"[*+?\[\](){}|\\^$]")
"""Characters that make an entry of `train.lora_targets` a regular expression instead of a name."""


@dataclass
class TrainConfig:
    method: str = setting(MISSING, choices=("full", "lora", "qlora", "none"))
    """full (all weights), lora (adapters beside linear layers, the model's own weights frozen), qlora (the same over
    weights in four bits), or none: evaluate the model as it is."""
    lora_rank: int | None = setting(None, least=1)
    """Rank of the adapters (lora and qlora): a layer from m to n features gets lora_rank * (m + n) weights."""
    lora_alpha: float | None = setting(None, above=0)
    """An adapter's output is scaled by lora_alpha / lora_rank."""
    lora_dropout: float | None = setting(None, least=0, below=1)
    """Dropout on an adapter's inputs. Above 0 the losses depend on how rows are packed."""
    lora_targets: list[str] | None = None
    """Names of the layers that get an adapter, such as [q_proj, v_proj], ends of full names (self_attn.q_proj), regular
    expressions for full names, and `experts` for the experts' own weights; null is every linear layer but the output
    layer, routers and experts."""
    lora_exclude: list[str] | None = setting(None, unwritten_if_empty=True)
    """Names, ends or regular expressions of layers that get no adapter although `lora_targets` means them."""
    lora_variant: str | None = setting(None, choices=("rslora", "dora", "pissa"), unwritten_if_empty=True)
    """null is plain LoRA. rslora: scaled by lora_alpha / sqrt(lora_rank). dora: the lengths of weight rows are trained
    apart from their directions. pissa: adapters begin as the largest singular parts of the weights."""
    lora_plus_ratio: float | None = setting(None, least=1, unwritten_if_empty=True)
    """LoRA+: how many times the learning rate of A the matrices B get; null is 1."""
    neftune_alpha: float | None = setting(None, above=0, unwritten_if_empty=True)
    """NEFTune: uniform noise up to neftune_alpha / sqrt(row's tokens * hidden size) on embeddings in training; null is
    none."""
    num_processes: Any = setting("auto", HOW, choices=("auto",), least=1)
    """Training processes over all nodes, equally many on each; auto is one per GPU, or one per node without GPUs."""
    epochs: int = setting(2, least=1)
    max_steps: int | None = setting(None, least=1)
    """Optimizer steps instead of `epochs`; the learning rate's schedule ends there."""
    learning_rate: float = setting(2e-5, above=0)
    """Peak, after warm-up."""
    schedule: str = setting("linear", choices=("linear", "cosine", "constant"))
    """After warm-up: linear (to 0), cosine (to 0) or constant."""
    warmup_ratio: float = setting(0.03, least=0, below=1)
    """Share of all steps in which the learning rate rises."""
    weight_decay: float = setting(0.0, least=0)
    optimizer: str = setting("adamw", choices=("adamw", "adamw_8bit"))
    """adamw, or adamw_8bit: its moments in 8 bits (bitsandbytes), a quarter of the memory, without DeepSpeed."""
    adam_beta1: float = setting(0.9, least=0, below=1)
    adam_beta2: float = setting(0.999, least=0, below=1)
    adam_epsilon: float = setting(1e-8, above=0)
    max_grad_norm: float = setting(1.0, above=0)
    """Clipping of the whole gradient's norm; always set, since DeepSpeed and torch have different defaults."""
    router_aux_loss: float = setting(0.0, least=0, unwritten_if_empty=True)
    """Coefficient of the loss that balances the load of a mixture's experts (Switch Transformer, arXiv 2101.03961), in
    full training. It balances each micro-batch by itself, so it depends on how rows are packed; 0 leaves it out."""
    global_batch_size: int = setting(128, least=1)
    """Sequences per optimizer step, over all processes and micro-batches."""
    micro_batch_tokens: int = setting(8192, HOW, least=1)
    """Tokens at most in one forward pass of one process. Whole sequences are packed together, none of which attends to
    another; memory depends on it, and not what is learnt."""
    max_length: int = setting(4096, least=1)
    """Longest sequence, tokens. Longer rows are left out of training and counted."""
    precision: str = setting("bf16", choices=("bf16", "bf16_pure", "fp32"))
    """bf16 (fp32 master weights), bf16_pure (weights and optimizer in bf16 too) or fp32."""
    attention: str = setting("auto", HOW, choices=ATTENTIONS, runs_or_sends=True, only_these=HUB_KERNELS)
    """flash_attention_3 (Hopper), flash_attention_2, flash_attention_4 (Hopper, Blackwell; a beta), sdpa (works
    everywhere), eager (slow, for some families) or auto: the first that is installed and works on this device in this
    precision and for this family. kernels-community/flash-attn2 and kernels-community/flash-attn3 (Hopper) download a
    kernel from the Hugging Face hub and run its code; auto never does."""
    cross_entropy: str = setting("auto", HOW, choices=("auto", "liger", "chunked"))
    """liger (its GPU kernel), chunked (plain torch) or auto: liger where it works. Neither makes all logits at once."""
    activation_checkpointing: Any = setting("all", HOW, choices=("all", "none", "auto"), least=0)
    """Layers that are computed again in the backward pass to save memory: all, none, a number of first layers, or auto:
    as few as fit, measured on the GPU with the largest micro-batch. Without a GPU auto is none."""
    checkpoint_every: int | None = setting(200, HOW, least=1)
    """Optimizer steps between resumable checkpoints; null writes one only when asked to stop."""
    keep_checkpoints: bool = setting(False, HOW)
    """Keep the last checkpoint after training has finished."""
    eval_every: int | None = setting(None, least=1)
    """Optimizer steps between measurements of the loss on `mix.validation_rows`, science and general apart; also before
    the first step and after the last. Null measures none. It costs a third of training on as many tokens."""
    keep: str = setting("last", choices=("last", "best"))
    """Which model is written in the end: last, or best, as `best_by` says. A checkpoint of the best so far is kept
    besides the newest."""
    best_by: str | None = setting(None, choices=BEST_BY, unwritten_if_empty=True)
    """What the best model is best by: science_loss or general_loss, the lowest on those validation rows; task_mean, the
    highest mean of the tasks' scores on a few prompts, which the training answers greedily every `eval_every` steps.
    Null is the loss on science rows, or on general ones where there are no others."""
    best_from: str | None = setting(None, choices=BEST_FROM, unwritten_if_empty=True)
    """Where the prompts of task_mean come from: train_split (the held-out tasks' own, of eval.path or eval.source),
    validation_rows (the mix's science rows that are not trained on, mix.validation_rows), or reported: the very
    instances that are scored in the end, which every score then says. Null takes the first of the other two that there
    is."""
    best_rows: int | None = setting(None, least=1, unwritten_if_empty=True)
    """Prompts of each task that task_mean answers, at most: a seeded choice. Null is 16."""

    def __post_init__(self) -> None:
        self._check_lora()
        self._check_best()
        if self.method == "none":
            return
        if self.keep == "best" and self.eval_every is None:
            raise UserError("train.keep=best needs train.eval_every=STEPS, and it is null: nothing would be measured")
        if self.max_length > self.micro_batch_tokens:
            raise UserError(
                f"train.max_length={self.max_length} does not fit train.micro_batch_tokens={self.micro_batch_tokens}: "
                "a micro-batch must hold the longest sequence"
            )

    @property
    def answers(self) -> bool:
        """Whether the training answers prompts, by whose scores the best model is chosen."""
        return self.best_by == TASK_MEAN

    @property
    def adapts(self) -> bool:
        """Whether adapters are trained beside the model's own weights, which stay as they are."""
        return self.method in ("lora", "qlora")

    def _check_best(self) -> None:
        if self.best_by is not None and self.method == "none":
            raise UserError(f"train.best_by={self.best_by} is for training, and train=none trains nothing")
        if self.best_by is not None and self.keep != "best":
            raise UserError(
                f"train.best_by={self.best_by} says what the best model is, and train.keep={self.keep} writes the last "
                "one: add train.keep=best, or leave train.best_by out"
            )
        for name in ("best_from", "best_rows"):
            if (value := getattr(self, name)) is not None and not self.answers:
                raise UserError(
                    f"train.{name}={value} is about the prompts of train.best_by={TASK_MEAN}, and train.best_by is "
                    f"{'null' if self.best_by is None else self.best_by}: add that, or leave it out"
                )

    def _check_lora(self) -> None:
        if self.router_aux_loss and self.method != "full":
            why = "routers are frozen" if self.adapts else "nothing is trained"
            raise UserError(f"train.router_aux_loss={self.router_aux_loss} is for train=full: with {self.method} {why}")
        needed = ("lora_rank", "lora_alpha", "lora_dropout")
        for name in (*needed, "lora_targets", "lora_exclude", "lora_variant", "lora_plus_ratio"):
            value = getattr(self, name)
            if not self.adapts and value is not None:
                raise UserError(f"train.{name}={value} is for train=lora and train=qlora, and this is {self.method}")
            if self.adapts and value is None and name in needed:
                raise UserError(
                    f"train.method={self.method} needs train.{name}; choose train={self.method}, which sets it"
                )
        if self.lora_targets == []:
            raise UserError("train.lora_targets=[] gives no layer an adapter; null is every linear layer but the head")
        for name in ("lora_targets", "lora_exclude"):
            for target in getattr(self, name) or ():
                if LORA_PATTERN.search(target):
                    try:
                        re.compile(target)
                    except re.error as error:
                        raise UserError(f"train.{name}: {target} is no regular expression: {error}") from None
        if self.method == "qlora" and self.lora_variant == "pissa":
            raise UserError(
                "train.lora_variant=pissa does not go with train=qlora: what PiSSA leaves of the weights would be "
                "rounded to four bits once more; choose train=lora, or another variant"
            )
        if self.method == "none" and self.neftune_alpha is not None:
            raise UserError(
                f"train.neftune_alpha={self.neftune_alpha:g} is for training, and train=none trains nothing"
            )
