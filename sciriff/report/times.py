"""Where the time of a run went: its stages by the manifest, and the training's steps by metrics.jsonl."""

from collections.abc import Mapping
from dataclasses import dataclass

from sciriff.data.training_metrics import MetricsRow, total
from sciriff.run.manifest import Manifest
from sciriff.run.number_format import duration

NOTHING = 0.001
"""A share of the steps' time that is not worth a line: what rounding leaves."""
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
    return _times(seconds, seconds)


def step_times(manifest: Manifest, metrics: list[MetricsRow]) -> list[Time]:
    """What the train stage did: the measured parts of its steps, and all else (start, checkpoints, saving). Empty if a
    time is unknown, or if the steps include those of an earlier start, which the stage's time does not."""
    stages = _seconds(manifest)
    steps = total(metrics, "seconds")
    if not steps or stages.get("train", 0.0) < steps:
        return []
    spent = {name: seconds for key, name in PARTS.items() if (seconds := total(metrics, key))}
    rest = steps - sum(spent.values())
    if rest > NOTHING * steps:
        spent["rest of the steps" if spent else "steps"] = rest
    if validation := total(metrics, "validation_seconds"):
        spent["validation"] = validation
    spent["start, checkpoints and saving"] = max(stages["train"] - steps - validation, 0.0)
    return _times(spent, stages)


def _seconds(manifest: Manifest) -> dict[str, float]:
    return {name: stage.seconds for name, stage in manifest.stages.items() if stage.status == "done"}


def _times(seconds: Mapping[str, float], stages: Mapping[str, float]) -> list[Time]:
    whole = sum(stages.values())
    return [Time(name, duration(spent), spent / whole if whole else 0.0) for name, spent in seconds.items()]
