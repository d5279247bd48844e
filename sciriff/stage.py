"""What every stage does first and last: die with its parent, hold the run, read the config, fail in one line."""

import contextlib
import fcntl
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from sciriff import config as configuration
from sciriff.config import PACKAGE, Config
from sciriff.run.parent_death import die_with_parent
from sciriff.run.run_dir import RunDir

USER_ERROR = 2
"""Exit status after a mistake that a person can mend, as opposed to 1 after a crash of ours."""


def hold(run: RunDir) -> IO[bytes]:
    """Hold the workers' lock as long as the returned file is open: a new driver waits for it."""
    file = run.workers_lock.open("ab")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


@contextlib.contextmanager
def alone(lock: Path, otherwise: str) -> Iterator[None]:
    """Hold a lock against a second process that would ask and pay for the same. ValueError, saying `otherwise`, where
    there is one."""
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(otherwise) from None
        yield


def is_users_mistake(error: BaseException) -> bool:
    """A ValueError that our own code raised (a library's means a fault of ours), or trouble with a file."""
    if isinstance(error, OSError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, ValueError) and bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE)


def run_stage(body: Callable[[Config, RunDir], None]) -> None:
    """Run one stage on the folder that the command line names: `python -m sciriff.STAGE RUN_DIR`."""
    die_with_parent()
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {body.__module__.removesuffix('.__main__')} RUN_DIR")
    run = RunDir(Path(sys.argv[1]).resolve())
    try:
        config = configuration.load(run.config)
        with hold(run):
            body(config, run)
    except (ValueError, OSError) as error:
        if not is_users_mistake(error):
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(USER_ERROR)
