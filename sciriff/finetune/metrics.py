"""metrics.jsonl: a row per optimizer step and per validation, cut back to the checkpoint when training resumes."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sciriff.finetune import disk
from sciriff.run.records import dumps

HALVES = ("science", "general")
"""The two kinds of validation rows."""


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


def append(path: Path, row: StepMetrics | ValidationMetrics) -> None:
    """Append a row; readers see it once this returns."""
    with disk.writing(path, "Free some space and start again"), path.open("a", encoding="utf-8") as file:
        file.write(dumps(asdict(row)) + "\n")


def line(row: StepMetrics) -> str:
    """Format a step for the terminal."""
    mfu = "" if row.mfu is None else f"  MFU {row.mfu:.0%}"
    memory = "" if row.memory is None else f"  {row.memory:.0f} GiB"
    return (
        f"loss {row.loss:.4f}  lr {row.lr:.2e}  gradient {row.grad_norm:.2f}  "
        f"{row.tokens_per_second:,.0f} target tokens/s{mfu}{memory}"
    )


def validation_line(row: ValidationMetrics) -> str:
    """Format a validation for the log and the terminal."""
    losses = {half: getattr(row, f"validation_{half}_loss") for half in HALVES}
    measured = [f"{half} {loss:.4f}" for half, loss in losses.items() if loss is not None]
    return f"validation after step {row.step}: {', '.join(measured) or 'not finite'} ({row.validation_seconds:.1f} s)"


def losses(path: Path) -> list[float]:
    """Return the losses of all steps, in order; `cut` must have been called."""
    return [row["loss"] for row in rows(path) if not _is_validation(row)]


def validations(path: Path) -> list[tuple[int, dict[str, float | None]]]:
    """Return (step, half -> loss) of all validations, in order; `cut` must have been called."""
    measured = [row for row in rows(path) if _is_validation(row)]
    return [(row["step"], {half: row[f"validation_{half}_loss"] for half in HALVES}) for row in measured]


def rows(path: Path) -> list[dict[str, Any]]:
    """Return all rows as they are in the file, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _is_validation(row: dict[str, Any]) -> bool:
    return "validation_seconds" in row


def cut(path: Path, step: int) -> None:
    """Truncate the file in place (a tracker may be reading it) after the row of step `step`. Removes a torn last line,
    and the validation after `step` too: it is measured again, since a stop may have come before it."""
    if not path.exists():
        path.touch()
        return
    keep = 0
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or not isinstance(row, dict):
                break
            if row.get("step", step + 1) > (step - 1 if _is_validation(row) else step):
                break
            keep += len(line)
    os.truncate(path, keep)
