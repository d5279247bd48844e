"""What every stage does first and last: die with its parent, hold the run, read the config, fail in one line."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

from sciriff import config as configuration
from sciriff.config import Config
from sciriff.run.locks import hold_as_worker
from sciriff.run.messages import say_error
from sciriff.run.parent_death import die_with_parent
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

USER_ERROR = 2
"""Exit status after what a person can fix; 1 is a crash of ours."""


def command(body: Callable[[], int]) -> Callable[[], int]:
    """End a command with one line and USER_ERROR after a user's mistake or a file's trouble; bugs keep tracebacks."""

    @functools.wraps(body)
    def checked() -> int:
        try:
            return body()
        except (UserError, OSError) as error:
            say_error(error)
            return USER_ERROR

    return checked


def run_stage(body: Callable[[Config, RunDir], None]) -> None:
    """Run one stage from the command line: `python -m sciriff.STAGE RUN_DIR`."""
    die_with_parent()
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {body.__module__.removesuffix('.__main__')} RUN_DIR")
    run = RunDir(Path(sys.argv[1]).resolve())

    @command
    def stage() -> int:
        config = configuration.load(run.config)
        with hold_as_worker(run):
            body(config, run)
        return 0

    sys.exit(stage())
