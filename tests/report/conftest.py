"""A small finished run, as the other stages leave it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_runs import fill_run, scores

from sciriff.config import Config, to_yaml
from sciriff.run.run_dir import RunDir


@pytest.fixture
def make_run(composed: Callable[..., Config], tmp_path: Path) -> Callable[..., tuple[Config, RunDir]]:
    """`make_run("name", {"biored_ner/f1": 0.5}, "override=...")` is a run folder with these scores and nothing else."""

    def make(name: str, columns: dict[str, float], *overrides: str, **options: Any) -> tuple[Config, RunDir]:
        run = RunDir(tmp_path / name)
        run.root.mkdir()
        config = composed("model=llama2_7b", f"name={name}", f"run_dir={run.root}", *overrides)
        run.config.write_text(to_yaml(config))
        run.scores.write_text(json.dumps(scores(columns, **options)))
        return config, run

    return make


@pytest.fixture
def fill() -> Callable[[RunDir, str], None]:
    """`fill(run, text)` gives a run all that a report can show."""
    return fill_run
