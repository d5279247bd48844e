"""What a run cost: the time of its training and of its answers on how many GPUs, and the tokens it was trained on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sciriff.data.training_metrics import read_metrics, total
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir

PAID = ("train", "predict")
"""Stages that a machine with GPUs is for."""


@dataclass(frozen=True)
class Cost:
    """Of one run, or the mean over its seeds. None is what its files do not say."""

    hours: float | None
    gpu_hours: float | None
    """None also without a GPU."""
    tokens: float | None
    """Training tokens of all steps, padding left out; 0 of a run that trained nothing."""


def cost_of(folder: Path) -> Cost:
    """What the files of a run say. UserError for a manifest or metrics that cannot be read.

    A stage's time in the manifest is that of its last start, while metrics.jsonl has the steps of all starts: the
    larger of both counts for the training.
    """
    run = RunDir(folder)
    manifest = Manifest.read(run.manifest)
    metrics = read_metrics(run.metrics)
    seconds = {name: record.seconds for name, record in manifest.stages.items() if name in PAID}
    if metrics:
        seconds["train"] = max(seconds.get("train", 0.0), total(metrics, "seconds"))
    machine = manifest.about.get("machine")
    gpus = machine.get("gpus") if isinstance(machine, dict) else None
    hours = math.fsum(seconds.values()) / 3600 if seconds else None
    gpu_hours = hours * len(gpus) if hours is not None and isinstance(gpus, list) and gpus else None
    nothing = 0.0 if manifest.stages and "train" not in manifest.stages else None
    tokens = total(metrics, "tokens") if metrics else nothing
    return Cost(hours, gpu_hours, tokens)


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """Of several seeds what one of them cost on average."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(values) and values else None

    return Cost(
        mean([cost.hours for cost in costs]),
        mean([cost.gpu_hours for cost in costs]),
        mean([cost.tokens for cost in costs]),
    )
