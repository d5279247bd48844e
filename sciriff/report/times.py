"""Where the time of a run went: its stages by the manifest, and the training's steps by metrics.jsonl."""

from dataclasses import dataclass

from sciriff.data.training_metrics import MetricsRow, total
from sciriff.run.manifest import Manifest
from sciriff.run.number_format import duration

NOTHING = 0.001
"""A share of the steps' time that is not worth a line: what rounding leaves."""
VALIDATION = "validation_seconds"
"""Key of the rows that tell of validations, which stand between steps."""
PARTS = {
    "seconds_data": "waiting for data",
    "seconds_compute": "forward and backward",
    "seconds_optimizer": "optimizer",
}
"""Keys of metrics.jsonl for what a step spends its time on."""


@dataclass(frozen=True)
class Time:
    """`share` is of all finished stages."""

    name: str
    text: str
    share: float


def stage_times(manifest: Manifest) -> list[Time]:
    """The finished stages. The report itself is still being written."""
    seconds = _seconds(manifest)
    return [Time(name, duration(spent), _share(spent, seconds)) for name, spent in seconds.items()]


def step_times(manifest: Manifest, metrics: list[MetricsRow]) -> list[Time]:
    """What the train stage did: parts of its steps as far as they were measured, and all else (start, checkpoints,
    saving). Nothing where its time or that of its steps is unknown, or where steps of an earlier start were kept, which
    the stage's time does not include."""
    stages = _seconds(manifest)
    steps = total(metrics, "seconds")
    if not steps or stages.get("train", 0.0) < steps:
        return []
    spent = {name: total(metrics, key) for key, name in PARTS.items()}
    measured = {name: seconds for name, seconds in spent.items() if seconds}
    rest = steps - sum(measured.values())
    if rest > NOTHING * steps:
        measured["rest of the steps" if measured else "steps"] = rest
    validation = total(metrics, VALIDATION)
    measured |= {"validation": validation} if validation else {}
    measured["start, checkpoints and saving"] = max(stages["train"] - steps - validation, 0.0)
    return [Time(name, duration(seconds), _share(seconds, stages)) for name, seconds in measured.items()]


def _seconds(manifest: Manifest) -> dict[str, float]:
    return {name: stage.seconds for name, stage in manifest.stages.items() if stage.status == "done"}


def _share(seconds: float, stages: dict[str, float]) -> float:
    whole = sum(stages.values())
    return seconds / whole if whole else 0.0
