"""Several replicas of an engine, each a process with its own GPUs, that take batches from one queue.

So they finish together, whatever the prompts cost. The stage, the only writer, ends when a replica dies, and replicas
die with it. A replica asks for batches and sends lists of answers, then None or its error.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from sciriff.config import EngineConfig
from sciriff.models.engines import Answer, Request
from sciriff.run import machine
from sciriff.run.locks import hold_as_worker
from sciriff.run.parent_death import die_with_parent
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

IN_HANDS = 4
"""A replica holds at most a quarter of its fair share of the prompts. More would leave one with a long tail when the
queue is empty; a quarter of some thousand prompts still fills vLLM's batches."""
LEAST_IN_HANDS = 32
AT_THE_END = 60.0
"""Seconds within which an engine must end in order."""
MORE = "more"
"""Message of a replica with room for another batch."""


@dataclass(frozen=True)
class ReplicaTask:
    """Work of a replica, sent when it starts."""

    engine: str
    """Name of the engine's module."""
    request: Request
    """The request, without batches."""
    folder: Path
    """The run folder."""


def generate(engine: ModuleType, request: Request, count: int, run: RunDir) -> Generator[list[Answer], None, None]:
    """Yield the answers of `count` replicas as they come. Errors as the engine's; ChildProcessError if one dies."""
    if count == 1:
        yield from engine.generate(request)
        return
    batches = list(request.batches)
    in_hands = max(LEAST_IN_HANDS, -(-sum(map(len, batches)) // (IN_HANDS * count)))
    task = ReplicaTask(engine.__name__, replace(request, batches=(), in_hands=in_hands), run.root)
    with _started(task, count, request.engine) as replicas:
        yield from _share_out(batches, replicas)


@contextlib.contextmanager
def _started(task: ReplicaTask, count: int, engine: EngineConfig) -> Iterator[dict[Connection, BaseProcess]]:
    context = multiprocessing.get_context("spawn")
    replicas: dict[Connection, BaseProcess] = {}
    with contextlib.ExitStack() as stack:
        for number, devices in enumerate(gpu_groups(count, engine.tensor_parallel), 1):
            ours, theirs = context.Pipe()
            arguments = (theirs, task, devices, count)
            name = f"replica {number} of {count}"
            process: BaseProcess = context.Process(target=_answer_batches, args=arguments, name=name)
            process.start()
            theirs.close()
            stack.callback(_end, process)
            replicas[ours] = process
        yield replicas
        for process in replicas.values():  # each shuts its engine down in its own time
            process.join(timeout=AT_THE_END)


def gpu_groups(count: int, ways: int) -> list[str | None]:
    """Return CUDA_VISIBLE_DEVICES of each of a node's `count` replicas, with `ways` GPUs each; None without GPUs."""
    gpus = len(machine.gpus())
    if gpus == 0:
        return [None] * count
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",") if visible else [str(number) for number in range(gpus)]
    return [",".join(ids[first : first + ways]) for first in range(0, count * ways, ways)]


def _answer_batches(pipe: Connection, task: ReplicaTask, devices: str | None, replicas: int) -> None:
    """Answer batches until there are no more, as one of `replicas` on this machine."""
    die_with_parent()
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    else:  # read when torch is imported, so before the engine is
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, machine.cores() // replicas)))

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


def _share_out(batches: list[list[int]], replicas: dict[Connection, BaseProcess]) -> Iterator[list[Answer]]:
    """Send batches to replicas that ask for one, and yield the answers."""
    queue = iter(batches)
    working = dict(replicas)
    while working:
        for pipe in wait(list(working)):
            assert isinstance(pipe, Connection)
            try:
                message = pipe.recv()
                if message == MORE:
                    pipe.send(next(queue, None))
            except (EOFError, OSError):
                process = working[pipe]
                process.join(timeout=10)
                code = process.exitcode
                how = f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"
                raise ChildProcessError(
                    f"{process.name} of the engine died ({how}); the answers so far are kept; "
                    "resume with the same command"
                ) from None
            if isinstance(message, Exception):
                raise message
            if message is None:
                del working[pipe]
            elif message != MORE:
                yield message


def _end(process: BaseProcess) -> None:
    """End a replica that may still be working."""
    process.terminate()
    process.join(timeout=10)
    if process.is_alive():
        process.kill()
        process.join()
