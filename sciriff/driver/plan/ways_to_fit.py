"""Changes with which a training that does not fit would; each is checked with the formula of the plan first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import OmegaConf

from sciriff.config import Config, conf_dir
from sciriff.models.training_memory import GIB, fits, trained_parameters, training_memory
from sciriff.run.user_error import UserError

GPUS_PER_NODE = 8
MOST_NODES = 64

Changed = tuple[tuple[str, ...], Config]
"""Overrides, and the config that they make."""


@dataclass(frozen=True)
class Way:
    """Overrides under which training fits, and their cost."""

    overrides: tuple[str, ...]
    remark: str = ""

    def __str__(self) -> str:
        return " ".join(self.overrides) + (f" ({self.remark})" if self.remark else "")


def ways_to_fit(config: Config, gpus: int, nodes: int, capacity: float) -> list[Way]:
    """Ways to train on `nodes` nodes of `gpus` GPUs of `capacity` GiB; one if smaller micro-batches or ZeRO-3 do."""
    ways: list[Way] = []

    def fit(changed: Changed | None, processes: int, remark: str = "", also: tuple[str, ...] = ()) -> bool:
        """Add a changed config if it fits, in smaller micro-batches if need be, with the overrides that it needs
        `also`; returns whether it does. None is what the config refuses, and no way."""
        for smaller, result in _smaller(changed[1]) if changed else ():
            if fits(training_memory(result, processes, on_gpu=True, capacity=capacity), capacity):
                ways.append(Way((*also, *changed[0], *smaller) if changed else (), remark))
                return True
        return False

    processes = gpus * nodes
    if fit(((), config), processes):
        return ways
    # What needs whole weights goes with ZeRO-2, and four-bit weights with neither.
    partitioned = _accepted(lambda: with_deepspeed(config, "zero3")) or _accepted(
        lambda: with_deepspeed(config, "zero2")
    )
    if partitioned and partitioned[0] and processes > 1 and fit(partitioned, processes):
        return ways
    if partitioned:
        auto = ("train.num_processes=auto",) if config.train.num_processes != "auto" else ()
        for g, n in _larger_machines(gpus, nodes):
            machine = (f"plan.gpus={g}", *((f"plan.nodes={n}",) if n > 1 else ()), *auto)
            if fit(partitioned, g * n, f"{g * n} such GPUs", machine):
                break
    if not config.train.adapts:
        memory = 16 * trained_parameters(config) / nodes / GIB
        if config.train.precision != "bf16_pure":
            remark = f"about 8 times slower, with {memory:,.0f} GiB of CPU memory per node"
            fit(_accepted(lambda: with_deepspeed(config, "zero3_offload")), processes, remark)
        adapters = _accepted(lambda: _with_adapters(config, "lora", "zero3" if processes > 1 else "none"))
        fit(adapters, processes, "adapters instead of all weights")
    if config.train.method != "qlora":
        adapters = _accepted(lambda: _with_adapters(config, "qlora", "none"))
        fit(adapters, processes, "adapters over weights in four bits")
    return ways


def _accepted(change: Callable[[], Changed]) -> Changed | None:
    """What `change` makes; None where the config refuses it, as it does DoRA under ZeRO-3."""
    try:
        return change()
    except UserError:
        return None


def _smaller(config: Config) -> Iterator[tuple[tuple[str, ...], Config]]:
    """Yield the config as it is, without settings that only improve speed, and with ever smaller micro-batches."""
    yield (), config
    train = config.train
    changes: tuple[str, ...] = ()
    if config.deepspeed.resident_weights == "all":
        config = replace(config, deepspeed=replace(config.deepspeed, resident_weights="auto"))
        changes = ("deepspeed.resident_weights=auto",)
        yield changes, config
    if train.activation_checkpointing not in ("all", "auto"):
        train = replace(train, activation_checkpointing="all")
        changes = (*changes, "train.activation_checkpointing=all")
        yield changes, replace(config, train=train)
    tokens = train.micro_batch_tokens
    while tokens > train.max_length:
        tokens = max(train.max_length, tokens // 2)
        smaller = replace(config, train=replace(train, micro_batch_tokens=tokens))
        yield (*changes, f"train.micro_batch_tokens={tokens}"), smaller


def _larger_machines(gpus: int, nodes: int) -> Iterator[tuple[int, int]]:
    """Yield ever larger numbers of GPUs per node and of nodes; a node is filled before another is added."""
    for more in range(gpus + 1, GPUS_PER_NODE + 1):
        yield more, nodes
    for more in range(nodes + 1, MOST_NODES + 1):
        yield max(gpus, GPUS_PER_NODE), more


def with_deepspeed(config: Config, option: str) -> Changed:
    """Return the overrides that select an option of conf/deepspeed (none if selected), and that config."""
    chosen = replace(config.deepspeed, **{"offload": False, **_values("deepspeed", option)})
    if chosen == config.deepspeed:
        return (), config
    overrides: tuple[str, ...] = (f"deepspeed={option}",)
    train = config.train
    if chosen.zero_stage and train.optimizer != "adamw":
        train, overrides = replace(train, optimizer="adamw"), (*overrides, "train.optimizer=adamw")
    return overrides, replace(config, deepspeed=chosen, train=train)


def _with_adapters(config: Config, option: str, deepspeed: str) -> Changed:
    """Return the overrides that train adapters, with what is typed of these, and that config."""
    change, base = with_deepspeed(config, deepspeed)
    lora = {} if config.train.adapts else {k: v for k, v in _values("train", "lora").items() if k.startswith("lora_")}
    return (f"train={option}", *change), replace(base, train=replace(base.train, method=option, **lora))


def _values(group: str, option: str) -> dict[str, Any]:
    values = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{option}.yaml"))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "defaults"}
