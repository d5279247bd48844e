"""metrics.jsonl: one row per optimizer step, one per validation, cut back to where training resumes."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from sciriff.data.training_metrics import StepMetrics, ValidationMetrics, is_validation, read_metrics
from sciriff.finetune import disk
from sciriff.run.json_lines import dumps


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
    return [row["loss"] for row in read_metrics(path) if not is_validation(row)]


def validations(path: Path) -> list[tuple[int, dict[str, float | None]]]:
    """(step, half -> loss) of all validations, in order; of a file that `cut` left behind."""
    prefix, suffix = "validation_", "_loss"
    return [
        (row["step"], {key[len(prefix) : -len(suffix)]: row[key] for key in row if key.endswith(suffix)})
        for row in read_metrics(path)
        if is_validation(row)
    ]


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
            if row.get("step", step + 1) > (step - 1 if is_validation(row) else step):
                break
            keep += len(line)
    os.truncate(path, keep)
