"""metrics.jsonl: a row per optimizer step and per validation, cut back to the checkpoint when training resumes."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from sciriff.data.training_metrics import (
    HALVES,
    TASK_MEAN,
    StepMetrics,
    ValidationMetrics,
    is_validation,
    read_metrics,
)
from sciriff.finetune import disk
from sciriff.run.json_lines import dumps

Measured = dict[str, float | None]
"""Half of the validation rows -> its loss, and MEAN -> the mean of the tasks' scores; None if not measured."""
MEAN = "mean of the tasks"


def append(path: Path, row: StepMetrics | ValidationMetrics) -> None:
    """Append a row; readers see it once this returns."""
    with disk.writing(path, "Free some space and start again"), path.open("a", encoding="utf-8") as file:
        file.write(dumps(row.row() if isinstance(row, ValidationMetrics) else asdict(row)) + "\n")


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
    seconds = row.validation_seconds
    if row.tasks is not None:
        measured.append(f"mean of the tasks {row.tasks.mean:.4f}")
        seconds += row.tasks.seconds
    return f"validation after step {row.step}: {', '.join(measured) or 'not finite'} ({seconds:.1f} s)"


def losses(path: Path) -> tuple[list[float], list[tuple[int, Measured]]]:
    """Return the losses of all steps, and (step, what was measured) of all validations, after `cut`."""
    rows = read_metrics(path)
    validations: list[tuple[int, Measured]] = []
    for row in rows:
        if is_validation(row):
            found: Measured = {half: row[f"validation_{half}_loss"] for half in HALVES}
            validations.append((row["step"], found | {MEAN: row.get(TASK_MEAN)}))
    return [row["loss"] for row in rows if not is_validation(row)], validations


def cut(path: Path, step: int) -> None:
    """Truncate the file in place (a tracker may read it) after step `step`, whose validation is measured again."""
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
            if row.get("step", step + 1) > (step - 1 if is_validation(row) else step):
                break
            keep += len(line)
    os.truncate(path, keep)
