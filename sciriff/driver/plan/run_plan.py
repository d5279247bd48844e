"""Compute the plan of a run: rows, steps, tokens, memory, disk, hours and price."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from sciriff.config import CHECKPOINTS_KEPT, Config, nearest
from sciriff.driver.plan import generation, network, speed
from sciriff.driver.plan.general import GeneralWorkload, general_hours, general_workload
from sciriff.driver.plan.merging import merged_gib
from sciriff.driver.plan.mix_size import mix_size
from sciriff.driver.plan.selection import Selection, selection
from sciriff.driver.plan.ways_to_fit import Way, ways_to_fit
from sciriff.models import attention_kernels, layer_kernels
from sciriff.models.training_memory import GIB, Memory, fits, shape_of, trained_parameters, training_memory
from sciriff.run import machine
from sciriff.run.machine import GPU_TYPES, Gpu
from sciriff.run.nodes import cluster
from sciriff.run.user_error import UserError


@dataclass(frozen=True)
class Plan:
    """What a run would do and need, from the config and the hardware alone."""

    rows: int | None
    """Rows of one epoch; None if a source must be read first."""
    tokens: int | None
    """Tokens of one epoch, prompts and targets, without markup."""
    steps: int | None
    processes: int
    """Training processes, on all nodes together."""
    nodes: tuple[str, ...]
    """Names of the nodes, or `node 0` etc. for a planned machine."""
    gpus: int
    """GPUs of each node."""
    device: str
    """Hardware of each node."""
    memory: Memory | None
    """None without training."""
    capacity: float
    """GiB of one GPU, or of the machine without a GPU."""
    disk: float
    """GiB for the model, trained or merged, and its checkpoints at the peak."""
    hours: float | None
    """Hours of training, validation and the answers that choose the best model included."""
    validation_hours: float
    """Hours of validation among them."""
    training_hours: float | None
    """Hours of the optimizer steps among them."""
    selection: Selection | None
    """Answers by whose scores the best model is chosen (train.best_by=task_mean); None without any."""
    network: network.Traffic | None
    """Traffic between the nodes; None on one node, or if the duration of a step is unknown."""
    price: float | None
    """US dollars of these hours on all GPUs; None if the price of a GPU hour is unknown."""
    usd_per_gpu_hour: float | None
    general: GeneralWorkload | None
    """Prompts of the general tasks; None without any."""
    general_hours: float | None
    """Hours that all GPUs need for these, a rough estimate; None without GPUs, and for a server."""
    attention: str
    """Attention that training would use on these GPUs."""
    slow_attention: str | None
    """Why `auto` is SDPA there, what that costs and what helps; None if it is not."""
    slow_layers: str | None
    """Which kernels the model's other layers lack on these GPUs, and what helps; None if none."""
    deepspeed_factor: float
    """Speed under the chosen DeepSpeed settings over that of plain torch."""
    ways_to_fit: list[Way]
    """Changes with which training would fit; empty if it does."""
    generation_problem: str | None
    """Reason why the model cannot answer on these GPUs; None if it can."""
    on_gpu: bool
    imagined: bool
    """True for a machine described by plan.gpu and plan.gpus instead of this one."""


def make(config: Config) -> Plan:
    """Return the plan of a run on this machine, or on that of `plan.gpu`, `plan.gpus` and `plan.nodes`."""
    imagined = config.plan.gpu is not None or config.plan.gpus is not None
    if config.plan.gpu is not None and config.plan.gpu not in GPU_TYPES:
        raise UserError(f"plan.gpu={config.plan.gpu} is not known{nearest(config.plan.gpu, GPU_TYPES)}")
    kind = config.plan.gpu or "a100_80gb"
    present = [Gpu(kind, GPU_TYPES[kind].memory)] * (config.plan.gpus or 1) if imagined else machine.gpus()
    trains = "train" in config.active_stages
    rows, tokens = mix_size(config) if trains else (None, None)
    steps = _steps(config, rows)
    nodes = _nodes(config, imagined)
    wanted = config.train.num_processes if trains else len(nodes)
    processes = cluster.training_processes(wanted, len(present), len(nodes))
    on_gpu = bool(present)
    attention, slow_attention = _attention(config, present[0], imagined) if on_gpu else (config.train.attention, None)
    config = replace(config, train=replace(config.train, attention=attention))
    capacity = min((gpu.memory for gpu in present), default=machine.memory())
    room = capacity if on_gpu else None
    memory = training_memory(config, processes, on_gpu=on_gpu, capacity=room) if trains else None
    ways: list[Way] = []
    if memory is not None and on_gpu and not fits(memory, capacity):
        ways = ways_to_fit(config, processes // len(nodes), len(nodes), capacity)
    traffic = hours = training = None
    validation = 0.0
    chosen = selection(config, rows, tokens, steps, present, processes, len(nodes)) if trains else None
    if rows and tokens is not None and steps is not None:
        tflops = speed.tflops(config, present, processes)
        training = speed.hours(config, rows, tokens, steps, tflops)
        validation = speed.validation_hours(config, rows, tokens, steps, tflops)
        hours = training + validation + (chosen.hours or 0.0 if chosen else 0.0)
        if on_gpu and len(nodes) > 1:
            step_tokens = tokens * speed.epochs(config, rows, steps) / steps
            traffic = network.traffic(config, processes, len(nodes), capacity, step_tokens, training * 3600 / steps)
    usd = speed.usd_per_gpu_hour(config, present)
    general = general_workload(config)
    return Plan(
        rows=rows,
        tokens=tokens,
        steps=steps,
        processes=processes,
        nodes=nodes,
        gpus=len(present),
        device=f"{len(present)} x {present[0].name}" if present else f"CPU, {machine.cores()} cores",
        memory=memory,
        capacity=capacity,
        disk=_disk(config) if trains else merged_gib(config) if "merge" in config.active_stages else 0.0,
        hours=hours,
        validation_hours=validation,
        training_hours=training,
        selection=chosen,
        network=traffic,
        price=None if hours is None or usd is None else hours * processes * usd,
        usd_per_gpu_hour=usd,
        general=general,
        general_hours=general_hours(config, general, speed.kind_of(present[0]), len(present) * len(nodes))
        if general is not None and on_gpu
        else None,
        attention=attention,
        slow_attention=slow_attention if trains else None,
        slow_layers=_slow_layers(config) if trains and on_gpu and not imagined else None,
        deepspeed_factor=speed.deepspeed_factor(config, processes, capacity) if trains else 1.0,
        ways_to_fit=ways,
        generation_problem=generation.problem(config, len(present), capacity) if on_gpu else None,
        on_gpu=on_gpu,
        imagined=imagined,
    )


def _attention(config: Config, gpu: Gpu, imagined: bool) -> tuple[str, str | None]:
    """Return the attention on a GPU, and a line if `auto` is SDPA. On an imagined one everything is installed."""
    capability, precision = machine.compute_capability(gpu.name), config.train.precision
    setup = attention_kernels.here()
    name = attention_kernels.chosen(config.train.attention, None if imagined else setup, capability, precision)
    if config.train.attention != "auto":
        return name, None
    family = layer_kernels.model_type_of(Path(config.model.path)) if config.model.path else ""
    served = layer_kernels.flash_attentions(family)
    # Of an imagined machine nothing but the common FlashAttentions is assumed.
    if name != "sdpa" and served is not None and (imagined or name not in served):
        cost = f"planned with {speed.SDPA:.2f} of the GPU's peak, SDPA's on one H100"
        return "sdpa", f"the usual FlashAttentions do not serve {family}; {cost}"
    if name != "sdpa":
        return name, None
    remedy = attention_kernels.remedy(setup, capability, precision)
    cost = f"SDPA, planned with {speed.SDPA:.2f} of the GPU's peak where FlashAttention reaches"
    return name, f"{cost} {speed.ALL_CHECKPOINTED:.2f} (measured on one H100): {remedy}"


def _slow_layers(config: Config) -> str | None:
    """Return a line on missing kernels; of a model on the hub nothing is known before it is loaded."""
    path = config.model.path
    return layer_kernels.layer_advice(layer_kernels.model_type_of(Path(path))) if path else None


def _nodes(config: Config, imagined: bool) -> tuple[str, ...]:
    if config.plan.nodes is not None:
        return tuple(f"node {number}" for number in range(config.plan.nodes))
    return ("node 0",) if imagined else cluster.here().nodes


def checkpoints(config: Config) -> int:
    """Return how many checkpoints are on disk at most: the newest two, the best, and the one being written."""
    best = config.train.keep == "best"
    if config.train.checkpoint_every or best:
        return CHECKPOINTS_KEPT + best + 1
    return int(config.train.keep_checkpoints)


def _disk(config: Config) -> float:
    """Peak GiB on disk: all checkpoints (trained weights, two moments of each), or the model and those left then."""
    model = {"float32": 4}.get(config.model.dtype, 2) * shape_of(config).parameters
    checkpoint: float = {"bf16": 12, "bf16_pure": 6, "fp32": 12}[config.train.precision] * trained_parameters(config)
    if config.train.lora_variant == "pissa":
        checkpoint += checkpoint / 3  # and the weights that the adapters began with
    count = checkpoints(config)
    remaining = max(count - 1, int(config.train.keep_checkpoints))
    return max(count * checkpoint, remaining * checkpoint + model) / GIB


def _steps(config: Config, rows: int | None) -> int | None:
    if rows is None:
        return None
    if config.train.max_steps is not None:
        return config.train.max_steps
    return config.train.epochs * math.ceil(rows / config.train.global_batch_size)
