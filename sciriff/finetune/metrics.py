"""metrics.jsonl: one row per optimizer step, cut back to where training resumes."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sciriff.records import dumps


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
    """Without padding."""
    target_tokens: int
    padding: float
    """Share of what went through the model that was padding."""
    tokens_per_second: float
    """Target tokens."""
    seconds: float
    mfu: float | None
    """Share of the GPUs' dense bf16 peak; null where that is not known."""
    memory: float | None
    """GiB that rank 0 has had allocated on its GPU at most; null on a CPU."""


def append(path: Path, row: StepMetrics) -> None:
    """Add a row; it can be read as soon as this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(dumps(asdict(row)) + "\n")


def cut(path: Path, step: int) -> None:
    """Keep the rows up to `step`, in place: a tracker may be reading the file. A torn last line goes too."""
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
            if not line.endswith(b"\n") or not isinstance(row, dict) or not row.get("step", step + 1) <= step:
                break
            keep += len(line)
    os.truncate(path, keep)
