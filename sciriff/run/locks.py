"""A run folder belongs to one driver at a time."""

import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator
from typing import IO

from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

WAIT_FOR_WORKERS = 60.0
"""Seconds that the last worker of a killed driver has to be gone."""


@contextlib.contextmanager
def own(run: RunDir, wait: bool = False) -> Iterator[None]:
    """Hold the run folder. A second driver is refused, or with `wait` waits for the first; the last worker of a killed
    one is waited for."""
    with run.lock.open("ab") as lock, run.workers_lock.open("ab") as workers:
        if not _take(lock):
            if not wait:
                raise _in_use(run)
            print(f"{run.root}: another run is making it; waiting", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        give_up_at = time.monotonic() + WAIT_FOR_WORKERS
        while not _take(workers):
            if time.monotonic() > give_up_at:
                raise UserError(f"{run.root}: a stage of an earlier run is still alive; end it first")
            time.sleep(0.2)
        fcntl.flock(workers, fcntl.LOCK_UN)
        yield


@contextlib.contextmanager
def own_nodes(run: RunDir) -> Iterator[None]:
    """Be the one driver that nodes join by the key in the folder, before `own`. Refused as there, before a key of
    another is touched."""
    with run.nodes_lock.open("ab") as nodes:
        if not _take(nodes):
            raise _in_use(run)
        with run.lock.open("ab") as lock:
            if not _take(lock):
                raise _in_use(run)
        yield


def _take(lock: IO[bytes]) -> bool:
    """Whether nobody else has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(run: RunDir) -> UserError:
    return UserError(f"{run.root} is in use by another run of sciriff; wait for it, or choose name=...")
