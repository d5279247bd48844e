"""`evaluate` is `train` with train=none, wherever Hydra's options stand."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from sciriff.evaluate import with_override

MINE = ["model=a,b", "~judge", "+x=1"]


@pytest.mark.parametrize(
    "typed",
    [
        MINE,
        ["-m", *MINE],
        [*MINE, "-m"],
        ["--config-dir", "my/conf", *MINE],
        ["--config-dir=a=b", "-cn", "config", *MINE, "--multirun", "--cfg", "job"],
    ],
)
def test_hydras_own_parser_takes_options_before_and_after(typed: list[str]):
    made = with_override(typed)
    before, after = (get_args_parser().parse_args(words) for words in (typed, made))
    assert after.overrides == ["train=none", *MINE]
    assert {**vars(after), "overrides": None} == {**vars(before), "overrides": None}


@pytest.mark.parametrize("typed", [[], ["-m"], ["--config-dir", "x"], ["--info"], ["--help"]])
def test_where_there_is_no_other_override(typed: list[str]):
    assert get_args_parser().parse_args(with_override(typed)).overrides == ["train=none"]


@pytest.mark.slow
def test_the_console_command_evaluates_a_sweep(tmp_path: Path):
    """The real driver, by what pip's script for `sciriff` does."""
    console = "import sys; from sciriff.__main__ import main; sys.exit(main())"
    typed = ["evaluate", "-m", "experiment=demo", "seed=1,2", "dry_run=true"]
    command = [sys.executable, "-c", console, *typed]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("stages    predict, score, report\n") == 2
