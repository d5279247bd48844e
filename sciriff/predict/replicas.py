"""Several engines side by side, each in a process with GPUs of its own, that draw their work from one queue.

So they finish together, whatever the prompts turn out to cost. Answers come back to the stage, the only writer. It ends
when a replica dies, and they die with it. Those of one machine are its children; over several nodes each connects to
it, with a key that the stage makes up and hands on in the environment of what it starts there.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from sciriff.config import EngineConfig, ModelConfig
from sciriff.models.engines import Answer, Request
from sciriff.predict import replica
from sciriff.predict.replica import MORE, Task
from sciriff.run import machine, spawn
from sciriff.run.nodes import cluster, node_connection
from sciriff.run.nodes.cluster import RANK, Cluster
from sciriff.run.nodes.everywhere import everywhere
from sciriff.run.nodes.node_connection import KEY_FILE
from sciriff.run.run_dir import RunDir

IN_HANDS = 4
"""A replica holds a quarter of its fair share of the prompts at most. More would leave one of them with a long tail
when the queue is empty; of some thousand prompts a quarter still fills vLLM's batches."""
LEAST_IN_HANDS = 32

START = 300.0
"""Seconds in which the other nodes' replicas must be there; a file system may bring a new environment slowly."""

AT_THE_END = 60.0
"""Seconds that an engine has to end in order."""


Died = Callable[[], str]
"""Says of a replica whose connection broke which one it was, with a place for their number, and how it died."""


class Replicas:
    """Those of a run: how many on which node."""

    def __init__(self, engine: EngineConfig, there: Cluster) -> None:
        """UserError where the GPUs do not suffice."""
        self._engine = engine
        self._cluster = there
        self.per_node = cluster.replicas_per_node(
            engine.replicas, engine.tensor_parallel, len(machine.gpus()), there.size
        )
        self.count = sum(self.per_node)

    def generate(self, engine: ModuleType, request: Request, run: RunDir) -> Generator[list[Answer], None, None]:
        """Yield the answers of all replicas as they come. UserError or OSError as the engine's, ChildProcessError
        where a replica dies."""
        if self.count == 1:
            yield from engine.generate(request)
            return
        batches = list(request.batches)
        in_hands = max(LEAST_IN_HANDS, -(-sum(map(len, batches)) // (IN_HANDS * self.count)))
        task = Task(engine.__name__, replace(request, batches=(), in_hands=in_hands), run.root)
        with self._on_this_machine(task) if self._cluster.size == 1 else self._on_all_nodes(task) as pipes:
            yield from _share_out(batches, pipes)

    @contextlib.contextmanager
    def _on_this_machine(self, task: Task) -> Iterator[dict[Connection, Died]]:
        context = multiprocessing.get_context("spawn")
        processes = []
        pipes: dict[Connection, Died] = {}
        with contextlib.ExitStack() as stack:
            for number, devices in enumerate(replica.gpu_groups(self.count, self._engine.tensor_parallel), 1):
                ours, theirs = context.Pipe()
                arguments = (theirs, task, devices, self.count)
                process = context.Process(target=replica.work, args=arguments, name=f"replica {number}")
                process.start()
                theirs.close()
                stack.callback(_end, process)
                processes.append(process)
                pipes[ours] = partial(_death_here, process)
            yield pipes
            for process in processes:  # each puts its engine away in its own time
                process.join(timeout=AT_THE_END)

    @contextlib.contextmanager
    def _on_all_nodes(self, task: Task) -> Iterator[dict[Connection, Died]]:
        there = self._cluster
        # Nodes that have joined have a key already, in a file, and what they are told is not encrypted.
        key = node_connection.new_key() if there.slurm else Path(os.environ[KEY_FILE]).read_bytes()
        counts = [str(count) for count in self.per_node]
        command = [sys.executable, "-m", "sciriff.predict.replica", RANK, str(self._engine.tensor_parallel), *counts]
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(node_connection.listen())
            start = stack.enter_context(everywhere(there, command, _files(task.request.model), [replica.STAGE]))
            stage = {replica.STAGE: f"{there.address}:{listener.getsockname()[1]}"}
            if there.slurm:
                stage[replica.KEY] = key.decode()
            starter = spawn.popen(start.command, {**start.variables, **stage})
            stack.callback(_end_starter, starter)
            pipes: dict[Connection, Died] = {}
            give_up_at = time.monotonic() + START
            while len(pipes) < self.count:
                if starter.poll() is not None or time.monotonic() > give_up_at:
                    raise ChildProcessError(
                        f"{len(pipes)} of {self.count} engines on {there.size} nodes have started; the lines before "
                        "this one say more"
                    )
                if wait([listener], timeout=1) and (pipe := node_connection.accept(listener, key)) is not None:
                    number, node = pipe.recv()
                    pipe.send(task)
                    pipes[pipe] = partial(str, f"replica {number} of {{}} of the engine, on {there.nodes[node]}, died")
            print(f"{self.count} engines on {there.size} nodes", flush=True)
            yield pipes
            with contextlib.suppress(subprocess.TimeoutExpired):
                starter.wait(timeout=AT_THE_END)


def _share_out(batches: list[list[int]], replicas: dict[Connection, Died]) -> Iterator[list[Answer]]:
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
                death = working[pipe]().format(len(replicas))
                raise ChildProcessError(f"{death}; the answers so far are kept, and the same command goes on") from None
            if isinstance(message, Exception):
                raise message
            if message is None:
                del working[pipe]
            elif message != MORE:
                yield message


def _files(model: ModelConfig) -> dict[str, None]:
    """What the other nodes must see of a model that may have just been written."""
    folder = Path(model.path) if model.path is not None else None
    return {str(path): None for path in folder.rglob("*") if path.is_file()} if folder and folder.is_dir() else {}


def _death_here(process: BaseProcess) -> str:
    process.join(timeout=10)
    return f"{process.name} of {{}} of the engine died ({replica.how_it_died(process)})"


def _end(process: BaseProcess) -> None:
    """End a replica that may be at work still."""
    process.terminate()
    process.join(timeout=10)
    if process.is_alive():
        process.kill()
        process.join()


def _end_starter(starter: "subprocess.Popen[str]") -> None:
    """End what may be at work still on the nodes. Those that this does not reach end with the lifeline."""
    if starter.poll() is None:
        spawn.signal_group(starter, signal.SIGKILL)
        starter.wait()
