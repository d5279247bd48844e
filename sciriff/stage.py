"""What every stage does first and last: die with its parent, hold the run, read the config, fail in one line."""

import contextlib
import fcntl
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from sciriff import config as configuration
from sciriff.config import Config
from sciriff.run.parent_death import die_with_parent
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

USER_ERROR = 2
"""Exit status after a mistake that a person can fix, as opposed to 1 after a crash of ours."""


def hold(run: RunDir) -> IO[bytes]:
    """Hold the workers' lock as long as the returned file is open: a new driver waits for it."""
    file = run.workers_lock.open("ab")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


@contextlib.contextmanager
def alone(lock: Path, otherwise: str) -> Iterator[None]:
    """Hold a lock against a second process that would ask and pay for the same. UserError, saying `otherwise`, where
    there is one."""
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(otherwise) from None
        yield


def say_error(error: BaseException | str) -> None:
    """Say in one line what went wrong."""
    print(f"error: {error}", file=sys.stderr, flush=True)


def command(body: Callable[[], int]) -> Callable[[], int]:
    """Let a command that returns its exit status end with one line and USER_ERROR after a user's mistake or trouble
    with a file. Any other exception is a bug of ours and keeps its traceback."""

    @functools.wraps(body)
    def checked() -> int:
        try:
            return body()
        except (UserError, OSError) as error:
            say_error(error)
            return USER_ERROR

    return checked


def run_stage(body: Callable[[Config, RunDir], None]) -> None:
    """Run one stage on the folder that the command line names: `python -m sciriff.STAGE RUN_DIR`."""
    die_with_parent()
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {body.__module__.removesuffix('.__main__')} RUN_DIR")
    run = RunDir(Path(sys.argv[1]).resolve())

    @command
    def stage() -> int:
        config = configuration.load(run.config)
        with hold(run):
            body(config, run)
        return 0

    sys.exit(stage())
