"""log: where the run is tracked."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from sciriff.config.checks import one_of


@dataclass
class LogConfig:
    tracker: str = MISSING
    """none, wandb or tensorboard."""
    mode: str = "offline"
    """wandb: offline (send it later with `wandb sync`) or online (needs an account)."""
    project: str = "sciriff"
    entity: str | None = None
    group: str | None = None
    """Null is none, or in a sweep the sweep's name."""
    tags: list[str] = field(default_factory=list)
    """None are model, mix and method."""

    def __post_init__(self) -> None:
        one_of("log.tracker", self.tracker, ("none", "wandb", "tensorboard"))
        one_of("log.mode", self.mode, ("offline", "online"))
