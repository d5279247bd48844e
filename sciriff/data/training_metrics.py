"""metrics.jsonl: one row per optimizer step and one per validation, and its one reader."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.run.json_lines import read_json_objects, record
from sciriff.run.user_error import UserError

MetricsRow = dict[str, Any]
"""Key -> number, bool or None: those of StepMetrics or of ValidationMetrics, as far as the row has them."""


@dataclass(frozen=True)
class StepMetrics:
    """What one optimizer step did, over all processes."""

    step: int
    """From 1."""
    steps: int
    """Of the whole training."""
    epoch: float
    """Epochs done after this step."""
    loss: float
    """Mean cross entropy of the step's target tokens, nats."""
    lr: float
    grad_norm: float
    """Before clipping."""
    tokens: int
    """Targets and all others."""
    target_tokens: int
    packing_efficiency: float
    """Tokens over the room for them in the step's micro-batches (packing.efficiency)."""
    balance: float
    """Work over the work of the processes that are waited for (packing.balance)."""
    tokens_per_second: float
    """Target tokens."""
    total_tokens_per_second: float
    seconds: float
    """Of the whole step on rank 0, and in it: reading and packing, forward and backward, optimizer."""
    seconds_data: float
    seconds_compute: float
    seconds_optimizer: float
    mfu: float | None
    """Share of the GPUs' dense bf16 peak; null where that is not known."""
    memory: float | None
    """GiB that rank 0 has had allocated on its GPU at most; null on a CPU."""
    spike: bool
    """The loss stands out above those before it (spikes.is_spike)."""


@dataclass(frozen=True)
class ValidationMetrics:
    """What was measured after so many optimizer steps: a row of its own, between that step's and the next one's."""

    step: int
    """0 before training."""
    steps: int
    """Of the whole training."""
    validation_science_loss: float | None
    """Mean cross entropy of the target tokens of the science rows, nats; null without such rows."""
    validation_general_loss: float | None
    validation_seconds: float


def read_metrics(path: Path) -> list[MetricsRow]:
    """The rows in the order of the file; none where there was no training. UserError names file and line."""
    rows = read_json_objects(path) if path.is_file() else ()
    return [metrics_row(row, f"{path}:{number}") for number, row in rows]


def metrics_row(row: dict[str, Any], place: str) -> MetricsRow:
    """One row. UserError, with the `place`, where it is none."""
    found: MetricsRow = record(row, dict[str, bool | int | float | None], place)
    if type(found.get("step")) is not int:
        raise UserError(f"{place}: step={found.get('step')!r} must be a whole number")
    return found


def is_validation(row: MetricsRow) -> bool:
    return "validation_seconds" in row


def series(rows: Iterable[MetricsRow], key: str) -> list[tuple[int, float]]:
    """(step, value) of the rows that have one under `key`."""
    return [(row["step"], float(row[key])) for row in rows if row.get(key) is not None]


def total(rows: Iterable[MetricsRow], key: str) -> float:
    """The sum of the finite values."""
    return math.fsum(value for _, value in series(rows, key) if math.isfinite(value))
