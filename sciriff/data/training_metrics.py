"""Types and reader of metrics.jsonl: one row per optimizer step and one per validation."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sciriff.run.json_lines import read_json_objects, record
from sciriff.run.user_error import UserError

HALVES = ("science", "general")
"""The two kinds of validation rows."""

TASK = "validation_task_"
"""Begins the keys of a validation's scores, `validation_task_<task>/<score>`."""
TASK_MEAN, TASK_SECONDS = f"{TASK}mean", f"{TASK}seconds"

MetricsRow = dict[str, Any]
"""Key of StepMetrics or ValidationMetrics -> number, bool or None; a row of an earlier version may lack some."""


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of one optimizer step, over all ranks."""

    step: int
    """Counted from 1."""
    steps: int
    """Steps of the whole training."""
    epoch: float
    """Epochs done after this step."""
    loss: float
    """Mean cross entropy of the step's target tokens, nats."""
    lr: float
    grad_norm: float
    """Norm before clipping."""
    tokens: int
    """All tokens, targets included."""
    target_tokens: int
    packing_efficiency: float
    """Tokens over the token budget of the step's micro-batches (packing.efficiency)."""
    balance: float
    """Mean work over the work of the slowest rank (packing.balance)."""
    tokens_per_second: float
    """Target tokens."""
    total_tokens_per_second: float
    seconds: float
    """The whole step on rank 0; then its parts: reading and packing, forward and backward, optimizer."""
    seconds_data: float
    seconds_compute: float
    seconds_optimizer: float
    mfu: float | None
    """Model FLOP/s utilisation, a share of the GPUs' dense bf16 peak; null if that is unknown."""
    memory: float | None
    """Peak GiB allocated on the GPU of rank 0; null on a CPU."""
    spike: bool
    """True if the loss is far above those before it (spikes.is_spike)."""


@dataclass(frozen=True)
class TaskMetrics:
    """Scores of the answers to the prompts of train.best_by=task_mean, in [0, 1]."""

    mean: float
    """Mean of the columns."""
    columns: dict[str, float]
    """`<task>/<score>` as in the summary table -> value."""
    seconds: float


@dataclass(frozen=True)
class ValidationMetrics:
    """Validation losses after `step` optimizer steps, in a row between that step's and the next one's."""

    step: int
    """0 before training."""
    steps: int
    """Steps of the whole training."""
    validation_science_loss: float | None
    """Mean cross entropy of the target tokens of the science rows, nats; null without such rows."""
    validation_general_loss: float | None
    validation_seconds: float
    tasks: TaskMetrics | None = None
    """Null without train.best_by=task_mean, and before training."""

    def row(self) -> MetricsRow:
        """The row of the file, which is flat."""
        values = asdict(self)
        del values["tasks"]
        if self.tasks is None:
            return values
        columns = {f"{TASK}{column}": score for column, score in self.tasks.columns.items()}
        return {**values, TASK_MEAN: self.tasks.mean, TASK_SECONDS: self.tasks.seconds, **columns}


def read_metrics(path: Path) -> list[MetricsRow]:
    """Return the rows in file order; none if there was no training. UserError names file and line."""
    rows = read_json_objects(path) if path.is_file() else ()
    return [metrics_row(row, place) for place, row in rows]


def metrics_row(row: dict[str, Any], place: str) -> MetricsRow:
    """Return one row. UserError, with its `place`, if it is none."""
    found: MetricsRow = record(row, dict[str, bool | int | float | None], place)
    if type(found.get("step")) is not int:
        raise UserError(f"{place}: step={found.get('step')!r} must be a whole number")
    return found


def is_validation(row: MetricsRow) -> bool:
    return "validation_seconds" in row


def task_columns(rows: Iterable[MetricsRow]) -> list[str]:
    """Return the columns of which some validation has the score, in their order."""
    found = (key.removeprefix(TASK) for row in rows for key in row if key.startswith(TASK) and "/" in key)
    return list(dict.fromkeys(found))


def series(rows: Iterable[MetricsRow], key: str) -> list[tuple[int, float]]:
    """Return (step, value) of the rows that have a value under `key`."""
    return [(row["step"], float(row[key])) for row in rows if row.get(key) is not None]


def total(rows: Iterable[MetricsRow], key: str) -> float:
    """Return the sum of the finite values."""
    return math.fsum(value for _, value in series(rows, key) if math.isfinite(value))
