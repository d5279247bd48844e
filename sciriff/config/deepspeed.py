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
    """zero3: weights that stay whole on every GPU between passes instead of being gathered for each layer anew: auto
    (as many as fit, by the plan), all, or none."""
    whole_layers: bool = True
    """zero3: fetch the weights of a layer in one piece and add its gradients up together, not matrix by matrix; where
    all weights are trained."""
    extra: dict[str, Any] = setting(factory=dict, runs_or_sends=True)
    """Any other key of DeepSpeed's JSON, merged over ours; `+deepspeed.extra.zero_optimization.overlap_comm=false`."""

    def __post_init__(self) -> None:
        if self.offload and self.zero_stage == 0:
            raise UserError("deepspeed.offload=true needs DeepSpeed: deepspeed=zero3_offload")
