"""log: where the run is tracked."""

from dataclasses import dataclass

from sciriff.config.roles import setting


@dataclass
class LogConfig:
    tracker: str = setting("none", choices=("none", "wandb", "tensorboard"), runs_or_sends=True)
    """none, wandb or tensorboard."""
    mode: str = setting("offline", choices=("offline", "online"), runs_or_sends=True)
    """wandb: offline (send it later with `wandb sync`) or online (needs an account)."""
    project: str = setting("sciriff", runs_or_sends=True)
    entity: str | None = setting(None, runs_or_sends=True)
    group: str | None = None
    """Null: in a sweep its name, else none."""
    tags: list[str] = setting(factory=list)
    """Default: model, mix and method."""
