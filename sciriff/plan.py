"""Before anything starts: rows, steps, tokens, memory per GPU, disk and hours of a run, from numbers alone."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from sciriff import machine
from sciriff.config import LOGITS_AT_ONCE, Config, MixConfig, ServerConfig, nearest
from sciriff.machine import GPU_TYPES, Gpu
from sciriff.run_dir import RunDir
from sciriff.tasks import HELD_OUT
from sciriff.tasks.catalogue import CatalogueEntry, catalogue

GIB = 2**30

TULU_ROWS = 275_000
"""General rows of allenai/tulu-v2-sft-mixture once its science rows are out (SciRIFF's paper, appendix)."""

TULU_ROW_TOKENS = 922
"""Mean tokens of a general row: what is left of the 79M tokens of a published epoch after its 35,357 science rows."""

ASSUMED_MFU = 0.4
"""Share of a GPU's peak that packed batches reach with FlashAttention, for the hours. A plain loop of this design was
measured on one H100 with a 7B shape: 0.42 to 0.44, all layers computed again; 0.23 with SDPA under a block mask.
Several GPUs that wait for one another reach less."""

CPU_PEAK = 0.05
"""TFLOP/s of one CPU core in fp32, for the hours."""


@dataclass(frozen=True)
class Memory:
    """GiB on each GPU at the peak of training."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits


@dataclass(frozen=True)
class Plan:
    """What a run would do, computed from numbers alone."""

    rows: int | None
    """Of one epoch; None where a source must be read first."""
    tokens: int | None
    """Of one epoch, prompts and targets, the model's markup aside."""
    steps: int | None
    processes: int
    device: str
    memory: Memory | None
    """None without training."""
    capacity: float
    """GiB of one GPU, or of the machine without a GPU."""
    disk: float
    """GiB for the model and its checkpoints."""
    hours: float | None
    on_gpu: bool
    imagined: bool
    """Made for a machine that plan.gpu and plan.gpus describe, not for this one."""


def make(config: Config) -> Plan:
    """The plan of a run on this machine, or on the one that `plan.gpu`, `plan.gpus` and `plan.nodes` describe."""
    imagined = config.plan.gpu is not None or config.plan.gpus is not None
    if config.plan.gpu is not None and config.plan.gpu not in GPU_TYPES:
        raise ValueError(f"plan.gpu={config.plan.gpu} is not known{nearest(config.plan.gpu, GPU_TYPES)}")
    if imagined:
        kind = config.plan.gpu or "a100_80gb"
        present = [Gpu(kind, GPU_TYPES[kind].memory)] * (config.plan.gpus or 1)
    else:
        present = machine.gpus()
    trains = "train" in config.active_stages
    rows, tokens = _mix_size(config) if trains else (None, None)
    steps = _steps(config, rows)
    processes = config.train.num_processes if trains else 1
    if processes == "auto":
        processes = max(1, len(present))
    processes *= config.plan.nodes
    parameters = _parameters(config)
    copies = 2 if config.train.checkpoint_every else 0
    return Plan(
        rows=rows,
        tokens=tokens,
        steps=steps,
        processes=processes,
        device=f"{len(present)} x {present[0].name}" if present else f"CPU, {machine.cores()} cores",
        memory=training_memory(config, processes, on_gpu=bool(present)) if trains else None,
        capacity=min((gpu.memory for gpu in present), default=machine.memory()),
        disk=parameters * (2 + 14 * copies) / GIB if trains else 0.0,
        hours=_hours(config, rows, tokens, steps, _speed(present, processes)),
        on_gpu=bool(present),
        imagined=imagined,
    )


def _hours(config: Config, rows: int | None, tokens: int | None, steps: int | None, speed: float) -> float | None:
    """Of training: six operations a parameter and token (Kaplan et al. 2020) at `speed` TFLOP/s."""
    if not rows or tokens is None or steps is None:
        return None
    epochs = min(config.train.epochs, steps * config.train.global_batch_size / rows)
    return 6 * _parameters(config) * tokens * epochs / (speed * 1e12) / 3600


def _speed(present: list[Gpu], processes: int) -> float:
    """TFLOP/s of all processes together."""
    if not present:
        return CPU_PEAK * machine.cores()
    kind = present[0].name if present[0].name in GPU_TYPES else machine.gpu_type(present[0].name)
    return processes * ASSUMED_MFU * (GPU_TYPES[kind].peak if kind else 100.0)


def _steps(config: Config, rows: int | None) -> int | None:
    if rows is None or "train" not in config.active_stages:
        return None
    steps = config.train.epochs * math.ceil(rows / config.train.global_batch_size)
    return steps if config.train.max_steps is None else min(steps, config.train.max_steps)


def _mix_size(config: Config) -> tuple[int | None, int | None]:
    """Rows and tokens of one epoch: of the finished mix where there is one, else from the known sizes of the hub's
    datasets, else by counting the lines of local files."""
    card = RunDir(Path(config.run_dir)).mix_card
    if card.is_file():
        finished = json.loads(card.read_text())
        return finished["rows"], finished["prompt_tokens"]["sum"] + finished["target_tokens"]["sum"]
    mix = config.mix
    if mix.path or mix.sources.published.path:
        return None, None
    if mix.sources.published.exists:
        return 70_714, 79_000_000
    science = _science_size(config)
    general = _general_rows(config, science[0] if science else None)
    if science is None or general is None:
        return None, None
    epochs = mix.sources.sciriff.epochs
    general = round(general * mix.sources.tulu.epochs)
    return round(science[0] * epochs) + general, int(science[1] * epochs + general * TULU_ROW_TOKENS)


def _science_size(config: Config) -> tuple[int, float] | None:
    """Rows that the recipe chooses, each counted once, and their tokens; None for rows that are not SciRIFF's own."""
    source, cap = config.mix.sources.sciriff, config.mix.per_task
    if not source.exists or cap == 0:
        return 0, 0.0
    if source.path is not None or source.hub != "allenai/SciRIFF":
        return None
    held_out = {task.name for task in HELD_OUT}
    rows, tokens = 0, 0.0
    for entry in catalogue().values():
        if _enters(config.mix, entry) and (config.mix.include_heldout or entry.name not in held_out):
            taken = entry.train if cap is None else min(cap, entry.train)
            rows += taken
            tokens += taken * (entry.mean_input_tokens + entry.mean_output_tokens)
    return rows, tokens


def _enters(mix: MixConfig, entry: CatalogueEntry) -> bool:
    """Whether the filters of the mix let a task in."""
    filters = ((mix.tasks, (entry.name,)), (mix.families, (entry.family,)), (mix.domains, entry.domains))
    return all(wanted is None or set(wanted) & set(has) for wanted, has in filters)


def _general_rows(config: Config, science: int | None) -> int | None:
    tulu, source = config.mix.tulu, config.mix.sources.tulu
    if tulu == "none" or not source.exists:
        return 0
    there = None if source.path is not None else TULU_ROWS
    if tulu == "all" or there is None:
        return there
    if tulu == "match":
        if science is None:
            return None
        tulu = round(science * source.weight / config.mix.sources.sciriff.weight)
    return min(int(tulu), there)


def training_memory(config: Config, processes: int, *, on_gpu: bool) -> Memory:
    """GiB on each process, from the model's shape.

    Bytes per parameter (ZeRO, Rajbhandari et al. 2020): bf16 keeps bf16 weights and gradients and, in fp32, a master
    copy and Adam's two moments; bf16_pure all of it in bf16; fp32 all in fp32. Stage 2 shares gradients and optimizer
    among the processes, stage 3 the weights too. Activations (Korthikanti et al. 2022): one hidden state of a layer
    that is computed again, 34 bytes per token and hidden unit of one that is kept or is being computed again; `auto` is
    planned as `all`, since it keeps only those layers for which there is room. Logits: as many as the loss makes at
    once, in the computing type, in fp32, and their gradient.
    """
    shape, train, zero = config.model.shape, config.train, config.deepspeed
    assert shape is not None, "a model without weights is not trained"
    weights, gradients, optimizer = {"bf16": (2, 2, 12), "bf16_pure": (2, 2, 4), "fp32": (4, 4, 8)}[train.precision]
    if train.precision == "bf16" and zero.zero_stage == 0:
        weights, gradients, optimizer = 4, 4, 8  # autocast over fp32 weights
    shared = processes if zero.zero_stage in (2, 3) else 1
    weights_shared = processes if zero.zero_stage == 3 else 1
    tokens = train.micro_batch_tokens
    per_layer = 34 * tokens * shape.hidden
    words = {"all": shape.layers, "none": 0, "auto": shape.layers if on_gpu else 0}
    again = min(words.get(train.activation_checkpointing, train.activation_checkpointing), shape.layers)
    bytes_of_state = 4 if train.precision == "fp32" else 2
    kept = 2 * tokens * shape.hidden * again + per_layer * max(1, shape.layers - again)
    activations = kept * bytes_of_state / 2
    return Memory(
        weights=shape.parameters * weights / weights_shared / GIB,
        gradients=shape.parameters * gradients / shared / GIB,
        optimizer=0.0 if zero.offload and on_gpu else shape.parameters * optimizer / shared / GIB,
        activations=activations / GIB,
        logits=min(tokens * shape.vocabulary, LOGITS_AT_ONCE) * (bytes_of_state + 8) / GIB,
    )


def _parameters(config: Config) -> int:
    """Of the model; 0 where nobody but its provider knows."""
    return config.model.shape.parameters if config.model.shape is not None else 0


def _cap(server: ServerConfig) -> str:
    return f", ${server.max_usd:g} at most" if server.max_usd is not None else ""


def lines(config: Config, plan: Plan) -> list[str]:
    """The plan as a person reads it."""
    parameters, api = _parameters(config), config.model.api
    size = f"{parameters / 1e9:.2f}B" if parameters > 1e8 else f"{parameters / 1e6:.1f}M"
    what = f"({config.model.path or 'random weights'}), {size} parameters"
    text = [
        f"run       {config.name} in {config.run_dir}",
        f"stages    {', '.join(config.active_stages)}",
        f"model     {config.model.name} {f'({api.name} at {api.provider})' if api else what}",
        f"machine   {plan.device}{f', {config.plan.nodes} nodes' if config.plan.nodes > 1 else ''}",
    ]
    if "train" in config.active_stages:
        train = config.train
        if plan.rows is None:
            text.append("mix       local files: rows and steps are known once they are read (stages=[mix])")
        else:
            text.append(f"mix       {plan.rows:,} rows, about {(plan.tokens or 0) / 1e6:.1f}M tokens an epoch")
        text.append(
            f"train     {plan.steps if plan.steps is not None else '?'} steps of {train.global_batch_size} sequences, "
            f"{train.epochs} epochs, peak learning rate {train.learning_rate:g}, {train.schedule}, {train.precision}"
        )
        text.append(
            f"spawn     {plan.processes} training process{'es' * (plan.processes > 1)}, "
            + (f"DeepSpeed ZeRO-{config.deepspeed.zero_stage}" if config.deepspeed.zero_stage else "plain torch")
        )
        assert plan.memory is not None
        parts = ", ".join(f"{name} {gib:.1f}" for name, gib in vars(plan.memory).items())
        text.append(f"memory    {plan.memory.total:.1f} of {plan.capacity:.0f} GiB a process: {parts}")
        text.append(f"disk      {plan.disk:.1f} GiB (model and two checkpoints)")
        if plan.hours is not None:
            text.append(
                f"time      about {plan.hours:.1f} hours of training, at an assumed {ASSUMED_MFU:.0%} of the peak"
            )
    if "predict" in config.active_stages:
        cap = _cap(config.engine) if config.engine.asks else ""
        text.append(f"predict   {config.engine.name}, {config.eval.max_new_tokens} new tokens at most{cap}")
    if "judge" in config.active_stages:
        judge = config.judge
        cap = _cap(judge) if judge.asks else ""
        text.append(f"judge     {judge.model if judge.asks else judge.path} ({judge.provider}){cap}")
    return text
