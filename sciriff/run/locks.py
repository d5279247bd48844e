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
def own_node(run: RunDir, rank: int) -> Iterator[None]:
    """Be the one process that is this node of a run without Slurm. A second one is refused, and a second driver before
    it touches what the first one's nodes read."""
    make_nodes_folder(run)
    with run.node_lock(rank).open("ab") as node, run.lock.open("ab") as driver:
        if rank and not _take(node):
            raise UserError(
                f"NODE_RANK={rank} of {run.root} is another process's, which is still alive: give each node a number "
                "of its own, or end that one first"
            )
        if not rank and not (_take(node) and _take(driver)):
            raise _in_use(run)
        driver.close()
        yield


def make_nodes_folder(run: RunDir) -> None:
    """Make the folder through which nodes talk to each other. OSError where it belongs to somebody else."""
    run.nodes.mkdir(parents=True, exist_ok=True)
    run.nodes.chmod(0o700)


def _take(lock: IO[bytes]) -> bool:
    """Whether nobody else has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(run: RunDir) -> UserError:
    return UserError(f"{run.root} is in use by another run of sciriff; wait for it, or choose name=...")
