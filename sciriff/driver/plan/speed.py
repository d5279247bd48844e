"""How long training takes and what that costs: measured shares of a GPU's peak, and prices of GPU hours."""

import math

from sciriff.config import Config
from sciriff.models.training_memory import resident_weights, shape_of
from sciriff.run import machine
from sciriff.run.machine import GPU_TYPES, Gpu

# Model FLOP/s utilisation of packed micro-batches, measured in a plain loop on one H100 (a 7B shape in bf16, 4,096 to
# 16,384 tokens). Other GPUs are planned with the same shares. Several GPUs that wait for one another reach less.
ALL_COMPUTED_AGAIN = 0.43
"""FlashAttention, all layers computed again in the backward pass: 0.42 to 0.44."""
SOME_COMPUTED_AGAIN = 0.46
"""FlashAttention, no more than three quarters of the layers: 0.45 (none) to 0.47."""
SDPA = 0.23
"""SDPA under a block mask, all layers computed again."""

# DeepSpeed on the same GPU, 12 layers of that shape (2.7B), beside 26,600 tokens a second without.
ZERO3 = 0.60
"""Weights gathered for each layer, DeepSpeed's own sizes: 15,900 to 16,300 tokens a second."""
ZERO3_RESIDENT = 0.68
"""Weights resident: 18,100. Planned for ZeRO-2 too, which keeps them whole."""
OFFLOAD = 0.12
"""The optimizer in the machine's memory, 16 cores: 3,200."""

ADAPTERS = 0.75
"""Operations of LoRA over those of training all weights: no gradient of a frozen matrix, 6 of 8 with the layers
computed again."""

CPU_PEAK = 0.05
"""TFLOP/s of one CPU core in fp32."""

USD_PER_GPU_HOUR = {"a100_80gb": 1.3, "h100": 3.0, "h200": 4.0}
"""On demand, from providers that rent GPUs alone; the middle of what was listed in May 2026 (mercatus-ai.com, cloud GPU
pricing: 1.10-1.50, 2.50-3.50, 3.50-4.50). Large clouds ask up to twice that, small ones two thirds."""


def tflops(config: Config, present: list[Gpu], processes: int) -> float:
    """TFLOP/s of useful work that all processes reach together, planned from what was measured."""
    if not present:
        return CPU_PEAK * machine.cores()
    kind = kind_of(present[0])
    factor = deepspeed_factor(config, processes, min(gpu.memory for gpu in present))
    if config.train.adapts:
        factor /= ADAPTERS
    return processes * (GPU_TYPES[kind].peak if kind else 100.0) * utilisation(config) * factor


def utilisation(config: Config) -> float:
    """Model FLOP/s utilisation to plan with, without what DeepSpeed costs."""
    if config.train.attention in ("sdpa", "eager"):
        return SDPA
    layers = shape_of(config).layers
    again = {"all": layers, "auto": layers, "none": 0}.get(
        config.train.activation_checkpointing, config.train.activation_checkpointing
    )
    return ALL_COMPUTED_AGAIN if again > 0.75 * layers else SOME_COMPUTED_AGAIN


def deepspeed_factor(config: Config, processes: int, capacity: float) -> float:
    """Speed under DeepSpeed over that of plain torch on one GPU; 1 without DeepSpeed."""
    zero = config.deepspeed
    if zero.zero_stage == 0:
        return 1.0
    if zero.offload:
        return OFFLOAD
    whole = zero.zero_stage == 2 or resident_weights(config, processes, capacity) == shape_of(config).parameters
    return ZERO3_RESIDENT if whole else ZERO3


def hours(config: Config, rows: int | None, tokens: int | None, steps: int | None, speed: float) -> float | None:
    """Of training: six operations a weight and token (Kaplan et al. 2020, arXiv 2001.08361) at `speed` TFLOP/s."""
    if not rows or tokens is None or steps is None:
        return None
    return 6 * shape_of(config).parameters * tokens * epochs(config, rows, steps) / (speed * 1e12) / 3600


def epochs(config: Config, rows: int | None, steps: int) -> float:
    """How often so many steps go through the rows of the mix; the last step of an epoch has what is left."""
    return steps / math.ceil(rows / config.train.global_batch_size) if rows else 0.0


def measuring_hours(config: Config, rows: int | None, tokens: int | None, steps: int | None, speed: float) -> float:
    """Of the loss on validation rows: two operations a weight and token (the forward pass alone), before the first
    step, every train.eval_every steps and after the last. Rows of both halves of the mix, as long as its own."""
    train, mix = config.train, config.mix
    if train.eval_every is None or not rows or tokens is None or steps is None:
        return 0.0
    times = 1 + -(-steps // train.eval_every)
    halves = mix.sources.sciriff.exists + mix.sources.tulu.exists
    measured = times * halves * mix.validation_rows * tokens / rows
    return 2 * shape_of(config).parameters * measured / (speed * 1e12) / 3600


def usd_per_gpu_hour(config: Config, present: list[Gpu]) -> float | None:
    """What the user said, else what such a GPU typically costs; None where neither is known."""
    if config.plan.usd_per_gpu_hour is not None or not present:
        return config.plan.usd_per_gpu_hour
    return USD_PER_GPU_HOUR.get(kind_of(present[0]) or "")


def kind_of(gpu: Gpu) -> str | None:
    """The kind of a GPU as `plan.gpu` names it; None for one that is not in the table."""
    return gpu.name if gpu.name in GPU_TYPES else machine.gpu_type(gpu.name)
