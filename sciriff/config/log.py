"""log: where the run is tracked."""

from dataclasses import dataclass

from sciriff.config.roles import setting
from sciriff.run.user_error import UserError


@dataclass
class LogConfig:
    tracker: str = setting("none", choices=("none", "wandb", "tensorboard", "trackio", "mlflow"), runs_or_sends=True)
    """none, wandb, tensorboard, trackio or mlflow."""
    mode: str = setting("offline", choices=("offline", "online"), runs_or_sends=True)
    """wandb: offline (send it later with `wandb sync`) or online (needs an account). mlflow: offline (a database in the
    run folder) or online (the server of MLFLOW_TRACKING_URI)."""
    project: str = setting("sciriff", runs_or_sends=True)
    entity: str | None = setting(None, runs_or_sends=True)
    group: str | None = None
    """Null: in a sweep its name, else none."""
    artifacts: list[str] = setting(
        factory=list, choices=("mix", "model", "adapter", "scores"), runs_or_sends=True, unwritten_if_empty=True
    )
    """What wandb and mlflow get as artifacts once the run is finished, each named with what it was made of. None by
    default: a model of 7B has 13 GB."""
    tags: list[str] = setting(factory=list)
    """Default: model, mix and method."""

    def __post_init__(self) -> None:
        if self.artifacts and self.tracker not in ("none", "wandb", "mlflow"):
            raise UserError(
                f"log.artifacts=[{','.join(self.artifacts)}] go to wandb or mlflow; log={self.tracker} has none"
            )
        if self.mode == "online" and self.tracker == "trackio":
            raise UserError("log.mode=online: log=trackio writes to the run folder alone, and `trackio sync` sends it")
