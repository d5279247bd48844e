"""Locks of runs, sweeps and shared files: each is a file that a process locks (flock) until it ends, however it ends.

The files stay: if one were removed, two processes could hold two files of one name.
"""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sciriff.run.messages import say
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

WAIT_FOR_WORKERS = 60.0
"""Seconds within which the last worker of a killed driver must end."""


@contextlib.contextmanager
def hold_or_refuse(path: Path, refusal: str, shared: bool = False) -> Iterator[None]:
    """Hold a lock, alone or `shared` with others that share it. UserError with the text `refusal` if another process
    holds it otherwise."""
    with path.open("ab") as lock:
        if not _take(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            raise UserError(refusal)
        yield


@contextlib.contextmanager
def hold_or_wait(path: Path, notice: str, shared: bool = False) -> Iterator[None]:
    """Hold a lock as `hold_or_refuse`; if another process holds it otherwise, print `notice` and wait."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("ab") as lock:
        if not _take(lock, kind):
            say(notice)
            fcntl.flock(lock, kind)
        yield


@contextlib.contextmanager
def own_run(run: RunDir, wait: bool = False) -> Iterator[None]:
    """Hold a run folder as its driver, after a killed one's last worker. A second is refused, or waits (`wait`)."""
    waiting = f"{run.root}: another run is making it; waiting"
    driver = hold_or_wait(run.lock, waiting) if wait else hold_or_refuse(run.lock, _in_use(run))
    with driver, run.workers_lock.open("ab") as workers:
        give_up_at = time.monotonic() + WAIT_FOR_WORKERS
        while not _take(workers):
            if time.monotonic() > give_up_at:
                raise UserError(f"{run.root}: a stage of an earlier run is still alive; end it first")
            time.sleep(0.2)
        fcntl.flock(workers, fcntl.LOCK_UN)
        yield


@contextlib.contextmanager
def own_node(run: RunDir, rank: int) -> Iterator[None]:
    """Be this node of a run without Slurm. A second process is refused before it touches what other nodes read."""
    make_nodes_folder(run)
    refusal = (
        f"NODE_RANK={rank} of {run.root} is another process's, which is still alive: give each node a number of its "
        "own, or end that one first"
    )
    with hold_or_refuse(run.node_lock(rank), refusal if rank else _in_use(run)):
        if rank == 0:
            with hold_or_refuse(run.lock, _in_use(run)):
                pass
        yield


def make_nodes_folder(run: RunDir) -> None:
    """Make the folder through which nodes talk to each other. OSError where it belongs to somebody else."""
    run.nodes.mkdir(parents=True, exist_ok=True)
    run.nodes.chmod(0o700)


def hold_as_worker(run: RunDir) -> IO[bytes]:
    """Share the workers' lock while the returned file is open; a new driver waits for it."""
    file = run.workers_lock.open("ab")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def is_owned(run: RunDir) -> bool:
    """Return whether a driver holds the run now."""
    if not run.lock.is_file():
        return False
    with run.lock.open("rb") as lock:
        return not _take(lock, fcntl.LOCK_SH)


def _take(lock: IO[bytes], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(run: RunDir) -> str:
    return f"{run.root} is in use by another run of sciriff; wait for it, or choose name=..."
