"""Several engines side by side, each in a process with GPUs of its own, that draw their work from one queue.

So they finish together, whatever the prompts turn out to cost. Answers come back to the stage, the only writer. A
replica dies with the stage, and the stage ends when a replica dies.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from sciriff import machine
from sciriff.config import EngineConfig
from sciriff.parent_death import die_with_parent
from sciriff.predict.engines import Answer, Request
from sciriff.run_dir import RunDir
from sciriff.stage import hold, is_users_mistake

IN_HANDS = 4
"""A replica holds a quarter of its fair share of the prompts at most. More would leave one of them with a long tail
when the queue is empty; of some thousand prompts a quarter still fills vLLM's batches."""
LEAST_IN_HANDS = 32

AT_THE_END = 60.0
"""Seconds that an engine has to end in order."""

MORE = "more"
"""What a replica says that has room for another batch."""


def gpu_groups(engine: EngineConfig) -> list[str | None]:
    """For each replica its CUDA_VISIBLE_DEVICES; None on a machine without GPUs. ValueError where these do not
    suffice."""
    count = len(machine.gpus())
    if count == 0:
        return [None] * (1 if engine.replicas == "auto" else engine.replicas)
    size = engine.tensor_parallel
    replicas = max(1, count // size) if engine.replicas == "auto" else engine.replicas
    if replicas * size > count:
        raise ValueError(
            f"engine.replicas={engine.replicas} with engine.tensor_parallel={size} needs {replicas * size} GPUs, "
            f"and there {'is' if count == 1 else 'are'} {count}"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",") if visible else [str(number) for number in range(count)]
    return [",".join(ids[first : first + size]) for first in range(0, replicas * size, size)]


def generate(
    engine: ModuleType, request: Request, groups: list[str | None], run: RunDir
) -> Generator[list[Answer], None, None]:
    """Yield the answers of all replicas as they come. ValueError or OSError as the engine's, ChildProcessError where a
    replica dies."""
    batches = list(request.batches)
    queue = iter(batches)
    prompts = sum(map(len, batches))
    in_hands = max(LEAST_IN_HANDS, -(-prompts // (IN_HANDS * len(groups))))
    task = replace(request, batches=(), in_hands=in_hands)
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        replicas: dict[Connection, BaseProcess] = {}
        finished: list[BaseProcess] = []
        for number, devices in enumerate(groups, 1):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_replica,
                args=(theirs, engine.__name__, task, devices, len(groups), run.root),
                name=f"replica {number} of {len(groups)}",
            )
            process.start()
            theirs.close()
            stack.callback(_end, process)
            replicas[ours] = process
        while replicas:
            for pipe in wait(list(replicas)):
                assert isinstance(pipe, Connection)
                try:
                    message = pipe.recv()
                    if message == MORE:
                        pipe.send(next(queue, None))
                except (EOFError, ConnectionError):
                    raise ChildProcessError(_death(replicas[pipe])) from None
                if isinstance(message, Exception):
                    raise message
                if message is None:
                    finished.append(replicas.pop(pipe))
                elif message != MORE:
                    yield message
        for ended in finished:  # each puts its engine away in its own time
            ended.join(timeout=AT_THE_END)


def _replica(pipe: Connection, engine: str, request: Request, devices: str | None, replicas: int, folder: Path) -> None:
    """The process of one replica: it asks for batches and sends lists of answers, then None, or what went wrong."""
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

    with hold(RunDir(folder)):
        try:
            for answers in importlib.import_module(engine).generate(replace(request, batches=batches())):
                pipe.send(answers)
        except (ValueError, OSError) as error:
            if not is_users_mistake(error):
                raise
            pipe.send(error)
        else:
            pipe.send(None)


def _death(process: BaseProcess) -> str:
    process.join(timeout=10)
    code = process.exitcode
    how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
    return f"{process.name} of the engine died ({how}); the answers so far are kept, and the same command goes on"


def _end(process: BaseProcess) -> None:
    """End a replica that may be at work still."""
    process.terminate()
    process.join(timeout=10)
    if process.is_alive():
        process.kill()
        process.join()
