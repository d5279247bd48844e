"""Run folders for the training stage, and independent trainings in one process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from finetune_runs import Compose, make_run

from sciriff.run.run_dir import RunDir

Make = Callable[..., RunDir]


@pytest.fixture
def make(composed: Compose, tmp_path: Path) -> Make:
    """`make("name", max_steps=5, ...)` makes a run folder (finetune_runs.make_run)."""
    return lambda name="run", **values: make_run(composed, tmp_path / name, **values)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Train on the CPU in this process, in which accelerate keeps its state from one training to the next."""
    import torch
    from accelerate.state import AcceleratorState

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
