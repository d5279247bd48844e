"""Several engines side by side, each in a process with GPUs of its own, that draw their work from one queue.

So they finish together, whatever the prompts turn out to cost. Answers come back to the stage, the only writer. It ends
when a replica dies, and they die with it. A replica asks for batches and sends back lists of answers, then None, or
what went wrong.
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
"""A replica holds a quarter of its fair share of the prompts at most. More would leave one of them with a long tail
when the queue is empty; of some thousand prompts a quarter still fills vLLM's batches."""
LEAST_IN_HANDS = 32

AT_THE_END = 60.0
"""Seconds that an engine has to end in order."""


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


def generate(engine: ModuleType, request: Request, count: int, run: RunDir) -> Generator[list[Answer], None, None]:
    """Yield the answers of this machine's `count` engines as they come. UserError or OSError as the engine's,
    ChildProcessError where a replica dies."""
    if count == 1:
        yield from engine.generate(request)
        return
    batches = list(request.batches)
    in_hands = max(LEAST_IN_HANDS, -(-sum(map(len, batches)) // (IN_HANDS * count)))
    task = Task(engine.__name__, replace(request, batches=(), in_hands=in_hands), run.root)
    with _started(task, count, request.engine) as replicas:
        yield from _share_out(batches, replicas)


@contextlib.contextmanager
def _started(task: Task, count: int, engine: EngineConfig) -> Iterator[dict[Connection, BaseProcess]]:
    context = multiprocessing.get_context("spawn")
    replicas: dict[Connection, BaseProcess] = {}
    with contextlib.ExitStack() as stack:
        for number, devices in enumerate(gpu_groups(count, engine.tensor_parallel), 1):
            ours, theirs = context.Pipe()
            arguments = (theirs, task, devices, count)
            process: BaseProcess = context.Process(
                target=_answer_batches, args=arguments, name=f"replica {number} of {count}"
            )
            process.start()
            theirs.close()
            stack.callback(_end, process)
            replicas[ours] = process
        yield replicas
        for process in replicas.values():  # each puts its engine away in its own time
            process.join(timeout=AT_THE_END)


def gpu_groups(count: int, ways: int) -> list[str | None]:
    """For each of a node's `count` replicas its CUDA_VISIBLE_DEVICES, of `ways` GPUs; None on a machine without."""
    gpus = len(machine.gpus())
    if gpus == 0:
        return [None] * count
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",") if visible else [str(number) for number in range(gpus)]
    return [",".join(ids[first : first + ways]) for first in range(0, count * ways, ways)]


def _answer_batches(pipe: Connection, task: Task, devices: str | None, beside: int) -> None:
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


def _share_out(batches: list[list[int]], replicas: dict[Connection, BaseProcess]) -> Iterator[list[Answer]]:
    """Hand batches to who asks for one, and yield the answers."""
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
                raise ChildProcessError(
                    f"{process.name} of the engine died ({_how_it_died(process)}); the answers so far are kept, "
                    "and the same command goes on"
                ) from None
            if isinstance(message, Exception):
                raise message
            if message is None:
                del working[pipe]
            elif message != MORE:
                yield message


def _end(process: BaseProcess) -> None:
    """End a replica that may be at work still."""
    process.terminate()
    process.join(timeout=10)
    if process.is_alive():
        process.kill()
        process.join()


def _how_it_died(process: BaseProcess) -> str:
    code = process.exitcode
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
