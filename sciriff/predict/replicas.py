"""Several engines side by side, each in a process with GPUs of its own, that draw their work from one queue.

So they finish together, whatever the prompts turn out to cost. Answers come back to the stage, the only writer. It ends
when a replica dies, and they die with it.
"""

import contextlib
import multiprocessing
from collections.abc import Generator, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType

from sciriff.config import EngineConfig
from sciriff.models.engines import Answer, Request
from sciriff.predict import replica
from sciriff.predict.replica import MORE, Task
from sciriff.run.run_dir import RunDir

IN_HANDS = 4
"""A replica holds a quarter of its fair share of the prompts at most. More would leave one of them with a long tail
when the queue is empty; of some thousand prompts a quarter still fills vLLM's batches."""
LEAST_IN_HANDS = 32

AT_THE_END = 60.0
"""Seconds that an engine has to end in order."""


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
        for number, devices in enumerate(replica.gpu_groups(count, engine.tensor_parallel), 1):
            ours, theirs = context.Pipe()
            arguments = (theirs, task, devices, count)
            process: BaseProcess = context.Process(
                target=replica.work, args=arguments, name=f"replica {number} of {count}"
            )
            process.start()
            theirs.close()
            stack.callback(_end, process)
            replicas[ours] = process
        yield replicas
        for process in replicas.values():  # each puts its engine away in its own time
            process.join(timeout=AT_THE_END)


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
                    f"{process.name} of the engine died ({replica.how_it_died(process)}); the answers so far are kept, "
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
