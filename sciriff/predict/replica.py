"""One engine of several, in a process of its own, and the process that has those of one node.

`python -m sciriff.predict.replica NODE GPUS_OF_AN_ENGINE ENGINES_OF_EACH_NODE...` runs on each of several nodes. A
replica asks the stage for batches and sends back lists of answers, then None, or what went wrong.
"""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from sciriff.models.engines import Request
from sciriff.run import machine
from sciriff.run.locks import hold_as_worker
from sciriff.run.nodes import node_connection
from sciriff.run.nodes.node_connection import KEY_FILE
from sciriff.run.parent_death import die_with_parent
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

STAGE, KEY = "SCIRIFF_STAGE", "SCIRIFF_STAGE_KEY"
"""Variables: address:port of the stage, and the key that opens a connection to it, where no file has it."""

ANSWERS_WITHIN = 60.0
"""Seconds in which the stage must answer a replica on another node."""

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


def far_from_the_stage(number: int, node: int, stage: str, key: bytes, devices: str | None, beside: int) -> None:
    """The process of a replica on a node of several: it tells the stage which one it is, and gets its task."""
    die_with_parent()
    address, _, port = stage.rpartition(":")
    pipe = node_connection.connect(address, int(port), key, ANSWERS_WITHIN)
    pipe.send((number, node))
    work(pipe, pipe.recv(), devices, beside)


def how_it_died(process: BaseProcess) -> str:
    code = process.exitcode
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"


def main() -> int:
    """Have this node's replicas at work. Returns 1 where one of them died."""
    node, ways, *counts = map(int, sys.argv[1:])
    count, before = counts[node], sum(counts[:node])
    stage = os.environ[STAGE]
    # Taken out, so that no engine's own processes inherit it.
    key = os.environ.pop(KEY).encode() if KEY in os.environ else Path(os.environ[KEY_FILE]).read_bytes()
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=far_from_the_stage,
            args=(before + place, node, stage, key, devices, count),
            name=f"replica {before + place} of {sum(counts)}",
        )
        for place, devices in enumerate(gpu_groups(count, ways), 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            print(f"{process.name} ended: {how_it_died(process)}", flush=True)
    return int(any(process.exitcode for process in processes))


if __name__ == "__main__":
    sys.exit(main())
