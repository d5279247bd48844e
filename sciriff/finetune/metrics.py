"""metrics.jsonl: one row per optimizer step, one per validation, cut back to where training resumes."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sciriff.finetune import disk
from sciriff.run.records import dumps


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


def append(path: Path, row: StepMetrics | ValidationMetrics) -> None:
    """Add a row; it can be read as soon as this returns."""
    with disk.writing(path, "Make room and start again"), path.open("a", encoding="utf-8") as file:
        file.write(dumps(asdict(row)) + "\n")


def line(row: StepMetrics) -> str:
    """A step as the terminal shows it."""
    mfu = "" if row.mfu is None else f"  MFU {row.mfu:.0%}"
    memory = "" if row.memory is None else f"  {row.memory:.0f} GiB"
    return (
        f"loss {row.loss:.4f}  lr {row.lr:.2e}  gradient {row.grad_norm:.2f}  "
        f"{row.tokens_per_second:,.0f} target tokens/s{mfu}{memory}"
    )


def validation_line(row: ValidationMetrics) -> str:
    """A validation as the log and the terminal show it."""
    science, general = row.validation_science_loss, row.validation_general_loss
    measured = [f"{half} {loss:.4f}" for half, loss in (("science", science), ("general", general)) if loss is not None]
    return f"validation after step {row.step}: {', '.join(measured) or 'not finite'} ({row.validation_seconds:.1f} s)"


def losses(path: Path) -> list[float]:
    """The losses of all steps, in order; of a file that `cut` left behind."""
    return [row["loss"] for row in _rows(path) if not _is_validation(row)]


def validations(path: Path) -> list[tuple[int, dict[str, float | None]]]:
    """(step, half -> loss) of all validations, in order; of a file that `cut` left behind."""
    prefix, suffix = "validation_", "_loss"
    return [
        (row["step"], {key[len(prefix) : -len(suffix)]: row[key] for key in row if key.endswith(suffix)})
        for row in _rows(path)
        if _is_validation(row)
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _is_validation(row: dict[str, Any]) -> bool:
    return "validation_seconds" in row


def cut(path: Path, step: int) -> None:
    """Keep the rows up to `step`, in place: a tracker may be reading the file. A torn last line goes too, and what was
    measured after `step`: it is measured again, since a stop may have come before it."""
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
