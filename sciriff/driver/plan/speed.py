"""Duration and price of training: measured shares of a GPU's peak, and prices of GPU hours."""

import math

from sciriff.config import Config
from sciriff.models.training_memory import checkpointed_layers, resident_weights, shape_of
from sciriff.run import machine
from sciriff.run.machine import GPU_TYPES, Gpu

# Model FLOP/s utilisation of packed micro-batches, measured on one H100 (a 7B shape in bf16, 4,096 to 16,384 tokens).
# Other GPUs are planned with the same shares. Several GPUs that wait for one another reach less.
ALL_CHECKPOINTED = 0.43
"""FlashAttention, activation checkpointing of all layers: 0.42 to 0.44."""
SOME_CHECKPOINTED = 0.46
"""FlashAttention, checkpointing of at most three quarters of the layers: 0.45 (none) to 0.47."""
SDPA = 0.23
"""SDPA under a block mask, checkpointing of all layers."""

# DeepSpeed on the same GPU with 12 layers of that shape (2.7B), relative to 26,600 tokens a second without it.
ZERO3 = 0.60
"""Weights gathered for each layer, DeepSpeed's default sizes: 15,900 to 16,300 tokens a second."""
ZERO3_RESIDENT = 0.68
"""Weights resident: 18,100. Used for ZeRO-2 too, which does not partition weights."""
OFFLOAD = 0.12
"""The optimizer in CPU memory, 16 cores: 3,200."""
ADAPTERS = 0.75
"""FLOPs of LoRA relative to full training: no gradients of frozen matrices, 6 of 8 if all is checkpointed."""
CPU_PEAK = 0.05
"""TFLOP/s of one CPU core in fp32."""
USD_PER_GPU_HOUR = {"a100_80gb": 1.3, "h100": 3.0, "h200": 4.0}
"""On-demand prices of providers that rent single GPUs; the middle of what was listed in May 2026 (mercatus-ai.com,
cloud GPU pricing: 1.10-1.50, 2.50-3.50, 3.50-4.50). Large clouds ask up to twice that, small ones two thirds."""


def tflops(config: Config, present: list[Gpu], processes: int) -> float:
    """Return the useful TFLOP/s of all processes together, planned from measurements."""
    if not present:
        return CPU_PEAK * machine.cores()
    kind = kind_of(present[0])
    factor = deepspeed_factor(config, processes, min(gpu.memory for gpu in present))
    if config.train.adapts:
        factor /= ADAPTERS
    return processes * (GPU_TYPES[kind].peak if kind else 100.0) * utilisation(config, config.train.attention) * factor


def utilisation(config: Config, attention: str) -> float:
    """Return the model FLOP/s utilisation to plan with this attention, before the cost of DeepSpeed."""
    if attention in ("sdpa", "eager"):
        return SDPA
    shape = shape_of(config)
    return ALL_CHECKPOINTED if checkpointed_layers(shape, config.train) > 0.75 * shape.layers else SOME_CHECKPOINTED


def other_than_measured(config: Config) -> bool:
    """Return whether the model is a mixture of experts or a hybrid: what is measured is a dense transformer's."""
    shape = shape_of(config)
    sparse = shape.active is not None and shape.active < shape.language_parameters
    return sparse or bool(shape.without_attention)


def deepspeed_factor(config: Config, processes: int, capacity: float) -> float:
    """Return the speed under DeepSpeed relative to plain torch on one GPU; 1 without DeepSpeed."""
    zero = config.deepspeed
    if zero.zero_stage == 0:
        return 1.0
    if zero.offload:
        return OFFLOAD
    whole = zero.zero_stage == 2 or resident_weights(config, processes, capacity) == shape_of(config).parameters
    return ZERO3_RESIDENT if whole else ZERO3


def hours(config: Config, rows: int, tokens: int, steps: int, tflops: float) -> float:
    """Return hours of training: six FLOPs per weight and token (Kaplan et al. 2020, arXiv 2001.08361) at `tflops`."""
    return 6 * shape_of(config).active_parameters * tokens * epochs(config, rows, steps) / (tflops * 1e12) / 3600


def epochs(config: Config, rows: int | None, steps: int) -> float:
    """Return how many epochs of the mix `steps` steps are; the last step of an epoch takes the rest of the rows."""
    return steps / math.ceil(rows / config.train.global_batch_size) if rows else 0.0


def validation_hours(config: Config, rows: int, tokens: int, steps: int, tflops: float) -> float:
    """Return the hours of validation, at two FLOPs per weight and token (the forward pass alone). Assumes that both
    halves of the mix have validation rows, as long as its own."""
    train, mix = config.train, config.mix
    if train.eval_every is None:
        return 0.0
    times = 1 + -(-steps // train.eval_every)
    halves = len(mix.kinds)
    measured = times * halves * mix.validation_rows * tokens / rows
    return 2 * shape_of(config).active_parameters * measured / (tflops * 1e12) / 3600


def usd_per_gpu_hour(config: Config, present: list[Gpu]) -> float | None:
    """Return plan.usd_per_gpu_hour, else the typical price of such a GPU; None if neither is known."""
    if config.plan.usd_per_gpu_hour is not None or not present:
        return config.plan.usd_per_gpu_hour
    return USD_PER_GPU_HOUR.get(kind_of(present[0]) or "")


def kind_of(gpu: Gpu) -> str | None:
    """Return the type of a GPU by its name in `plan.gpu`; None if it is not in the table."""
    return gpu.name if gpu.name in GPU_TYPES else machine.gpu_type(gpu.name)
