"""plan: a machine that is not this one."""

from dataclasses import dataclass

from sciriff.config.checks import at_least


@dataclass
class PlanConfig:
    gpu: str | None = None
    """Plan for this GPU (a100_40gb, a100_80gb, h100, h200, ...) instead of what this machine has."""
    gpus: int | None = None
    """GPUs per node to plan for."""
    nodes: int | None = None
    """Nodes to plan for; null is as many as this job has, or one for a machine that is imagined."""
    usd_per_gpu_hour: float | None = None
    """US dollars for an hour of one GPU; null is a typical price of its kind, where one is known (plan/speed.py)."""

    def __post_init__(self) -> None:
        at_least("plan.usd_per_gpu_hour", self.usd_per_gpu_hour, 0)
        at_least("plan.gpus", self.gpus, 1)
        at_least("plan.nodes", self.nodes, 1)
