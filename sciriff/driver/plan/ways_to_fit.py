"""Changes with which a training that does not fit would; each is checked with the formula of the plan first."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import OmegaConf

from sciriff.config import Config, conf_dir
from sciriff.models.training_memory import GIB, fits, trained_parameters, training_memory

GPUS_PER_NODE = 8
MOST_NODES = 64


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

    def fit(overrides: tuple[str, ...], changed: Config, processes: int, remark: str = "") -> bool:
        """Add the changed config if it fits, in smaller micro-batches if need be; returns whether it does."""
        for smaller, result in _smaller(changed):
            if fits(training_memory(result, processes, on_gpu=True, capacity=capacity), capacity):
                ways.append(Way((*overrides, *smaller), remark))
                return True
        return False

    processes = gpus * nodes
    if fit((), config, processes):
        return ways
    can_partition = config.train.method != "qlora"
    change, partitioned = with_deepspeed(config, "zero3") if can_partition else ((), config)
    if change and processes > 1 and fit(change, partitioned, processes):
        return ways
    if can_partition:
        auto = ("train.num_processes=auto",) if config.train.num_processes != "auto" else ()
        for g, n in _larger_machines(gpus, nodes):
            machine = (f"plan.gpus={g}", *((f"plan.nodes={n}",) if n > 1 else ()))
            if fit((*machine, *auto, *change), partitioned, g * n, f"{g * n} such GPUs"):
                break
    if not config.train.adapts:
        change, offloading = with_deepspeed(config, "zero3_offload")
        memory = 16 * trained_parameters(config) / nodes / GIB
        if config.train.precision != "bf16_pure":
            fit(change, offloading, processes, f"about 8 times slower, with {memory:,.0f} GiB of CPU memory per node")
        change, base = with_deepspeed(config, "zero3") if processes > 1 else with_deepspeed(config, "none")
        fit(("train=lora", *change), _with_adapters(base, "lora"), processes, "adapters instead of all weights")
    if config.train.method != "qlora":
        change, base = with_deepspeed(config, "none")
        fit(("train=qlora", *change), _with_adapters(base, "qlora"), processes, "adapters over weights in four bits")
    return ways


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


def with_deepspeed(config: Config, option: str) -> tuple[tuple[str, ...], Config]:
    """Return the overrides that select an option of conf/deepspeed (none if selected), and that config."""
    chosen = replace(config.deepspeed, **{"offload": False, **_values("deepspeed", option)})
    if chosen == config.deepspeed:
        return (), config
    overrides: tuple[str, ...] = (f"deepspeed={option}",)
    train = config.train
    if chosen.zero_stage and train.optimizer != "adamw":
        train, overrides = replace(train, optimizer="adamw"), (*overrides, "train.optimizer=adamw")
    return overrides, replace(config, deepspeed=chosen, train=train)


def _with_adapters(config: Config, option: str) -> Config:
    lora = {key: value for key, value in _values("train", "lora").items() if key.startswith("lora_")}
    return replace(config, train=replace(config.train, method=option, **lora))


def _values(group: str, option: str) -> dict[str, Any]:
    values = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{option}.yaml"))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "defaults"}
