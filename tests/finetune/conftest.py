"""Run folders for the training stage, and trainings in this process that know nothing of one another."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from finetune_runs import Compose, make_run

from sciriff.run.run_dir import RunDir

Make = Callable[..., RunDir]


@pytest.fixture
def make(composed: Compose, tmp_path: Path) -> Make:
    """`make("name", max_steps=5, ...)` is a run folder (finetune_runs.make_run)."""
    return lambda name="run", **values: make_run(composed, tmp_path / name, **values)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """accelerate keeps its state for the life of a process; here many trainings share one, on the CPU."""
    import torch
    from accelerate.state import AcceleratorState

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
