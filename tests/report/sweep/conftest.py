"""Runs of a sweep, as its jobs leave them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sweep_runs import Runs

from sciriff.config import Config


@pytest.fixture
def runs(tmp_path: Path, composed: Callable[..., Config]) -> Runs:
    """`runs.make("name", 0.5, "mix.per_task=5")` is a scored run; `runs.sweep()` the folder of the jobs noted."""
    return Runs(tmp_path, composed)
