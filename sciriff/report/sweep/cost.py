"""What a run cost: the time of its training and of its answers on how many GPUs, and the tokens it was trained on."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from sciriff.data.training_metrics import read_metrics, total
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir

PAID = ("train", "predict")
"""Stages that a machine with GPUs is for."""


class Cost(NamedTuple):
    """The cost of one run, or the mean over its seeds. None is what its files do not say."""

    hours: float | None = None
    gpu_hours: float | None = None
    """Hours times GPUs of the machine; also None without a GPU."""
    tokens: float | None = None
    """Training tokens of all steps, padding left out; 0 if nothing was trained."""


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
    untrained = 0.0 if manifest.stages and "train" not in manifest.stages else None
    return Cost(hours, gpu_hours, total(metrics, "tokens") if metrics else untrained)


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """The mean over several seeds; None where one of them is not known."""
    return Cost(*(None if None in values else fmean(values) for values in zip(*costs, strict=True)))
