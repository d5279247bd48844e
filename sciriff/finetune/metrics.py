"""metrics.jsonl: a row per optimizer step and per validation, cut back to the checkpoint when training resumes."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from sciriff.data.training_metrics import HALVES, StepMetrics, ValidationMetrics, is_validation, read_metrics
from sciriff.finetune import disk
from sciriff.run.json_lines import dumps


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


def losses(path: Path) -> tuple[list[float], list[tuple[int, dict[str, float | None]]]]:
    """Return the losses of all steps, and (step, half -> loss) of all validations, after `cut`."""
    rows = read_metrics(path)
    measured = [row for row in rows if is_validation(row)]
    validations = [(row["step"], {half: row[f"validation_{half}_loss"] for half in HALVES}) for row in measured]
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
