"""One engine of several, in a process of its own.

It asks the stage for batches and sends back lists of answers, then None, or what went wrong.
"""

import importlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from sciriff.models.engines import Request
from sciriff.run import machine
from sciriff.run.locks import hold_as_worker
from sciriff.run.parent_death import die_with_parent
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

MORE = "more"
"""What a replica says that has room for another batch."""


@dataclass(frozen=True)
class Task:
    """What the stage tells each replica first."""

    engine: str
    """Name of its module."""
    request: Request
    """Without batches."""
    folder: Path
    """Of the run."""


def gpu_groups(count: int, ways: int) -> list[str | None]:
    """For each of a node's `count` replicas its CUDA_VISIBLE_DEVICES, of `ways` GPUs; None on a machine without."""
    gpus = len(machine.gpus())
    if gpus == 0:
        return [None] * count
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",") if visible else [str(number) for number in range(gpus)]
    return [",".join(ids[first : first + ways]) for first in range(0, count * ways, ways)]


def work(pipe: Connection, task: Task, devices: str | None, beside: int) -> None:
    """Answer batches until there are no more. `beside` replicas share this machine."""
    die_with_parent()
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    else:  # read when torch is imported, so before the engine is
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, machine.cores() // beside)))

    def batches() -> Iterator[list[int]]:
        while True:
            pipe.send(MORE)
            batch = pipe.recv()
            if batch is None:
                return
            yield batch

    with hold_as_worker(RunDir(task.folder)):
        try:
            for answers in importlib.import_module(task.engine).generate(replace(task.request, batches=batches())):
                pipe.send(answers)
        except (UserError, OSError) as error:
            pipe.send(error)
        else:
            pipe.send(None)


def how_it_died(process: BaseProcess) -> str:
    code = process.exitcode
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
