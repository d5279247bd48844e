"""What would fit, where training does not: each change is tried with the plan's own formula before it is suggested."""

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
    """Overrides under which training fits, and what they cost."""

    overrides: tuple[str, ...]
    remark: str = ""

    def __str__(self) -> str:
        return " ".join(self.overrides) + (f" ({self.remark})" if self.remark else "")


def ways_to_fit(config: Config, gpus: int, nodes: int, capacity: float) -> list[Way]:
    """Ways to train on GPUs of `capacity` GiB, where there are `gpus` in each of so many nodes.

    If the same recipe fits in smaller pieces, or with all states shared out, that alone is said. Else there may be
    several: on so many more GPUs, with the optimizer off them, and with adapters, which is another recipe.
    """
    ways: list[Way] = []

    def fit(change: tuple[str, ...], changed: Config, processes: int, remark: str = "") -> bool:
        """Whether the changed config fits, in smaller pieces if need be; then it is among the ways."""
        for smaller, result in _smaller(changed):
            if fits(training_memory(result, processes, on_gpu=True, capacity=capacity), capacity):
                ways.append(Way((*change, *smaller), remark))
                return True
        return False

    here = gpus * nodes
    if fit((), config, here):
        return ways
    can_share = config.train.method != "qlora"
    change, shared = with_deepspeed(config, "zero3") if can_share else ((), config)
    if change and here > 1 and fit(change, shared, here):
        return ways
    if can_share:
        auto = ("train.num_processes=auto",) if config.train.num_processes != "auto" else ()
        for g, n in _larger_machines(gpus, nodes):
            machine = (f"plan.gpus={g}", *((f"plan.nodes={n}",) if n > 1 else ()))
            if fit((*machine, *auto, *change), shared, g * n, f"{g * n} such GPUs"):
                break
    if not config.train.adapts:
        change, offloading = with_deepspeed(config, "zero3_offload")
        memory = 16 * trained_parameters(config) / nodes / GIB
        if config.train.precision != "bf16_pure":
            fit(change, offloading, here, f"about 8 times slower, with {memory:,.0f} GiB of each machine's memory")
        change, sharing = with_deepspeed(config, "zero3") if here > 1 else with_deepspeed(config, "none")
        fit(("train=lora", *change), _with_adapters(sharing, "lora"), here, "adapters in place of all weights")
    if config.train.method != "qlora":
        change, alone = with_deepspeed(config, "none")
        fit(("train=qlora", *change), _with_adapters(alone, "qlora"), here, "adapters over weights in four bits")
    return ways


def _smaller(config: Config) -> Iterator[tuple[tuple[str, ...], Config]]:
    """The config as it is, then without what is kept for speed alone, then with ever smaller micro-batches too."""
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
        yield (
            (*changes, f"train.micro_batch_tokens={tokens}"),
            replace(config, train=replace(train, micro_batch_tokens=tokens)),
        )


def _larger_machines(gpus: int, nodes: int) -> Iterator[tuple[int, int]]:
    """GPUs and nodes, ever more of them: a node is filled before there is another."""
    for more in range(gpus + 1, GPUS_PER_NODE + 1):
        yield more, nodes
    for more in range(nodes + 1, MOST_NODES + 1):
        yield max(gpus, GPUS_PER_NODE), more


def with_deepspeed(config: Config, option: str) -> tuple[tuple[str, ...], Config]:
    """The overrides that choose an option of conf/deepspeed, and the config with it; none where it is chosen."""
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
    """The keys that a file of conf/ sets."""
    values = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{option}.yaml"))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "defaults"}
