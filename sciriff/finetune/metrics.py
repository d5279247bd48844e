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


def append(path: Path, row: StepMetrics) -> None:
    """Add a row; it can be read as soon as this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(dumps(asdict(row)) + "\n")


def line(row: StepMetrics) -> str:
    """A step as the terminal shows it."""
    mfu = "" if row.mfu is None else f"  MFU {row.mfu:.0%}"
    memory = "" if row.memory is None else f"  {row.memory:.0f} GiB"
    return (
        f"loss {row.loss:.4f}  lr {row.lr:.2e}  gradient {row.grad_norm:.2f}  "
        f"{row.tokens_per_second:,.0f} target tokens/s{mfu}{memory}"
    )


def losses(path: Path) -> list[float]:
    """The losses of all rows, in order; a file that `cut` left behind."""
    return [json.loads(line)["loss"] for line in path.read_text(encoding="utf-8").splitlines()]


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
