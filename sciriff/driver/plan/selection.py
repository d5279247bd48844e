"""Answers during training by whose scores the best model is chosen (train.best_by=task_mean): how many, and how long
they take. Rough estimates: tokens of an answer come one by one, and wait for memory, kernels and the network."""

import math
from dataclasses import dataclass

from sciriff.config import BEST_ROWS, TRAIN_SPLIT, VALIDATION_ROWS, Config
from sciriff.data.selection import origin_of_prompts
from sciriff.driver.plan import speed
from sciriff.models.training_memory import computing_bytes, frozen_bytes, resident_weights, shape_of, trained_parameters
from sciriff.run import machine
from sciriff.run.machine import Gpu
from sciriff.run.number_format import duration
from sciriff.run.user_error import UserError
from sciriff.tasks.catalogue import CatalogueEntry, catalogue

READING = 0.3
"""Share of a GPU's peak at which prompts are read, as for general tasks."""
MEMORY_SPEED = 1.5e12
"""Bytes a second at which a GPU reads its weights for each token: three quarters of an A100's data sheet."""
LAYER_SECONDS = {"gpu": 0.001, "cpu": 0.002}
"""Least time of a layer for one token of a batch: the start of its kernels from Python."""
GATHERED_LAYERS = 3.0
"""How many times longer the start takes under ZeRO-3, whose hooks run before and after each module."""
LINK, NETWORK = 100e9, 20e9
"""Bytes a second at which a GPU receives gathered weights from the others of its node, and from other nodes."""
LONGEST = 3.0
"""Tokens of the longest answer of a batch over those of the mean reference."""
SCIENCE_TASKS = 45
"""Science tasks that validation rows are drawn from, each in turn: SciRIFF's without the nine."""
ANSWER_TOKENS = 100.0
"""Mean tokens of a reference where the tasks are not SciRIFF's."""


@dataclass(frozen=True)
class Selection:
    """The prompts that choose a model, and what it costs to answer them."""

    origin: str
    """One of BEST_FROM."""
    prompts: int
    """At most."""
    times: int | None
    """How often all are answered; None if the number of steps is unknown."""
    hours: float | None
    """Time that all these answers take together."""

    def __str__(self) -> str:
        often = "each time" if self.times is None else f"{self.times:,} times"
        lasts = "" if self.hours is None else f", about {duration(3600 * self.hours)} in all (a rough estimate)"
        return f"by the mean of the tasks: {self.prompts:,} prompts ({self.origin}), answered {often}{lasts}"


@dataclass(frozen=True)
class _Sizes:
    """Number of prompts, and mean tokens of prompt and reference."""

    prompts: int
    prompt: float
    reference: float


def selection(
    config: Config,
    rows: int | None,
    tokens: int | None,
    steps: int | None,
    present: list[Gpu],
    processes: int,
    nodes: int,
) -> Selection | None:
    """Return what train.best_by=task_mean answers in a training on these GPUs; None without it, or without prompts.
    `rows` and `tokens` are those of one epoch."""
    train = config.train
    if not train.answers or train.eval_every is None:
        return None
    try:
        origin = origin_of_prompts(config)
    except UserError:  # the checks before the run say so
        return None
    sizes = _sizes(config, origin, tokens / rows if rows and tokens else None)
    if steps is None or sizes is None:
        return Selection(origin, sizes.prompts if sizes else _most(config, origin), None, None)
    times = math.ceil(steps / train.eval_every)
    seconds = times * _seconds(config, sizes, present, processes, nodes)
    return Selection(origin, sizes.prompts, times, seconds / 3600)


def _most(config: Config, origin: str) -> int:
    """Most prompts that there may be."""
    each = config.train.best_rows or BEST_ROWS
    if origin == VALIDATION_ROWS:
        return min(config.mix.validation_rows, SCIENCE_TASKS * each)
    return each * len(_scored(config))


def _scored(config: Config) -> list[str]:
    """Held-out tasks that are scored without a judge."""
    return [
        task.name
        for task in config.eval.held_out
        if (config.eval.tasks is None or task.name in config.eval.tasks) and set(task.columns) - {*task.judged_columns}
    ]


def _sizes(config: Config, origin: str, row_tokens: float | None) -> _Sizes | None:
    """Sizes of the prompts: SciRIFF's own, or for other rows those of the mix; None where these are not known."""
    source = config.eval.source
    if origin == VALIDATION_ROWS or config.eval.path is not None or source.hub != "allenai/SciRIFF":
        return None if row_tokens is None else _Sizes(_most(config, origin), row_tokens, ANSWER_TOKENS)
    entries = [catalogue()[name] for name in _scored(config) if name in catalogue()]
    if not entries:
        return None
    each = config.train.best_rows or BEST_ROWS

    def rows_of(entry: CatalogueEntry) -> int:
        return min(each, entry.train if origin == TRAIN_SPLIT else entry.validation)

    prompts = sum(map(rows_of, entries))
    prompt = sum(rows_of(entry) * entry.mean_input_tokens for entry in entries) / prompts
    reference = sum(rows_of(entry) * entry.mean_output_tokens for entry in entries) / prompts
    return _Sizes(prompts, prompt, reference)


def _seconds(config: Config, sizes: _Sizes, present: list[Gpu], processes: int, nodes: int) -> float:
    """Seconds for all prompts once. Whole batches are dealt out to the processes; a batch takes as many passes as its
    longest answer has tokens."""
    shape = shape_of(config)
    limit = config.eval.max_new_tokens + config.most_thought
    prompt = min(sizes.prompt, max(1.0, config.model.context - limit))
    rows = max(1, min(int(config.engine.batch_tokens / (prompt + limit)), sizes.prompts))
    rounds = math.ceil(math.ceil(sizes.prompts / rows) / processes)
    passes = min(limit, LONGEST * sizes.reference + config.most_thought)
    flops = 2 * shape.active_parameters * rows
    width = computing_bytes(config.train)
    if not present:
        rate = speed.CPU_PEAK * 1e12 * machine.cores() / processes
        step = max(LAYER_SECONDS["cpu"] * shape.layers, flops / rate)
        return rounds * (prompt * flops / rate + passes * step)
    kind = speed.kind_of(present[0])
    peak = 1e12 * (machine.GPU_TYPES[kind].peak if kind else 100.0)
    # Under autocast each pass rounds fp32 weights, which are read, written and read again.
    autocast = config.train.precision == "bf16" and not config.deepspeed.zero_stage and not config.train.adapts
    read = (8 if autocast else width) * shape.active_parameters
    layers = LAYER_SECONDS["gpu"] * shape.layers
    gathered = 0.0
    if config.deepspeed.zero_stage == 3 and processes > 1:
        capacity = min(gpu.memory for gpu in present)
        resident = resident_weights(config, processes, capacity)
        whole = width * trained_parameters(config) + frozen_bytes(config)
        left = max(0.0, whole - width * resident) * (processes - 1) / processes
        gathered = left / (NETWORK if nodes > 1 else LINK)
        layers *= GATHERED_LAYERS
    step = max(layers, read / MEMORY_SPEED, flops / (READING * peak)) + gathered
    return rounds * (prompt * flops / (READING * peak) + gathered + passes * step)
