"""Runs of a sweep, as its jobs leave them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from answer_runs import three
from sweep_runs import Runs

from sciriff.config import Config
from sciriff.run.run_dir import RunDir

MADE: list[RunDir] = []
"""The runs of `folders`, which are made once and copied for each test."""


@pytest.fixture
def runs(tmp_path: Path, composed: Callable[..., Config]) -> Runs:
    """`runs.make("name", 0.5, "mix.per_task=5")` is a scored run; `runs.sweep()` the folder of the jobs noted."""
    return Runs(tmp_path, composed)


@pytest.fixture
def folders(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, composed: Callable[..., Config]) -> list[RunDir]:
    """The folders of three runs, `before`, `after` and WORST, with answers to the same instances."""
    if not MADE:
        MADE.extend(three(Runs(tmp_path_factory.mktemp("made"), composed)))
    return [RunDir(shutil.copytree(run.root, tmp_path / run.root.name)) for run in MADE]
