"""deepspeed: what the processes of a training share out."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from sciriff.config.checks import one_of
from sciriff.run.user_error import UserError


@dataclass
class DeepspeedConfig:
    zero_stage: int = MISSING
    """0 trains without DeepSpeed; 2 shares gradients and optimizer states among the processes, 3 the weights too."""
    offload: bool = False
    """Keep the optimizer's states in the machine's memory; several times slower, so only where they do not fit."""
    resident_weights: str = "auto"
    """zero3: weights that stay whole on every GPU between passes instead of being gathered for each layer anew: auto
    (as many as fit, by the plan), all, or none."""
    whole_layers: bool = True
    """zero3: fetch the weights of a layer in one piece and add its gradients up together, not matrix by matrix; where
    all weights are trained."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other key of DeepSpeed's JSON, merged over ours; `+deepspeed.extra.zero_optimization.overlap_comm=false`."""

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 2, 3):
            raise UserError(f"deepspeed.zero_stage={self.zero_stage} is not known; it is one of 0, 2, 3")
        if self.offload and self.zero_stage == 0:
            raise UserError("deepspeed.offload=true needs DeepSpeed: deepspeed=zero3_offload")
        one_of("deepspeed.resident_weights", self.resident_weights, ("auto", "all", "none"))
