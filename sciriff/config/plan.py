"""plan: a machine that is not this one."""

from dataclasses import dataclass

from sciriff.config.roles import setting


@dataclass
class PlanConfig:
    gpu: str | None = None
    """Plan for this GPU (a100_40gb, a100_80gb, h100, h200, ...) instead of what this machine has."""
    gpus: int | None = setting(None, least=1)
    """GPUs per node to plan for."""
    nodes: int | None = setting(None, least=1)
    """Nodes to plan for; null is as many as this job has, or one for a machine that is imagined."""
    usd_per_gpu_hour: float | None = setting(None, least=0)
    """US dollars for an hour of one GPU; null is a typical price of its kind, where one is known (plan/speed.py)."""
