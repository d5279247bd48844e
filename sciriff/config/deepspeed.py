"""deepspeed: what the processes of a training share out."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from sciriff.config.roles import setting
from sciriff.run.user_error import UserError


@dataclass
class DeepspeedConfig:
    zero_stage: int = setting(MISSING, choices=(0, 2, 3))
    """0 trains without DeepSpeed; 2 shares gradients and optimizer states among the processes, 3 the weights too."""
    offload: bool = False
    """Keep the optimizer's states in the machine's memory; several times slower, so only where they do not fit."""
    resident_weights: str = setting("auto", choices=("auto", "all", "none"))
    """zero3: weights that stay whole on every GPU, not gathered for each layer: auto (what fits), all or none."""
    whole_layers: bool = True
    """zero3: gather the weights of a layer and reduce its gradients in one piece; for full fine-tuning."""
    extra: dict[str, Any] = setting(factory=dict, runs_or_sends=True)
    """Any other key of DeepSpeed's JSON, merged over ours; `+deepspeed.extra.zero_optimization.overlap_comm=false`."""

    def __post_init__(self) -> None:
        if self.offload and self.zero_stage == 0:
            raise UserError("deepspeed.offload=true needs DeepSpeed: deepspeed=zero3_offload")
