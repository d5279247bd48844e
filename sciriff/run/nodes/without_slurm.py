"""Nodes without Slurm: the same command on each. Node 0 runs the stages; the others do their part of those that run on
all nodes, and wait for the next.

Each node writes one file in `.nodes` of the run folder, which only its owner can read. Every start of node 0 has an id,
so that lines for an earlier start are not taken for this one's.
"""

import contextlib
import math
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sciriff.run import machine
from sciriff.run.locks import own_node
from sciriff.run.messages import say
from sciriff.run.nodes import heartbeat, shared_files
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.nodes.heartbeat import Heart, beating
from sciriff.run.nodes.node_file import NodeFile
from sciriff.run.run_dir import RunDir
from sciriff.run.spawn import ChildFailed, Stopped
from sciriff.run.user_error import InLines, UserError

JOIN_WITHIN = 600.0
"""Seconds within which all nodes must join; those of a cloud are not ready at the same moment."""
LOOK = 0.5
"""Seconds between two looks at another node's file."""
CASCADE = 10.0
"""Seconds within which node 0's part of a stage must end by itself after another node's has failed."""


class NodeFailed(InLines):
    """Another node is lost, or has ended before the run finished."""


@dataclass(frozen=True)
class Order:
    """A stage that all nodes run."""

    id: str
    stage: str
    run_dir: str
    files: dict[str, str | None]
    """Path -> digest of the files that node 0 has written for it (shared_files.wait_for)."""
    port: int | None = None
    """Port of node 0 where training's processes meet."""


class Node0:
    """The node that runs the stages."""

    def __init__(self, cluster: Cluster, run: RunDir) -> None:
        self.cluster = cluster
        self._run = run
        self._start = secrets.token_hex(8)
        self._file = NodeFile(run.node(0))
        self._others = {rank: NodeFile(run.node(rank)) for rank in range(1, cluster.size)}
        self._hearts = {rank: Heart(run.heartbeat(rank)) for rank in self._others}
        self._all_joined = False
        self._order: Order | None = None
        self._failed_at: float | None = None

    def wait_for_all(self, settings: dict[str, Any]) -> None:
        """Wait until all other nodes have joined. UserError if one does not, or was started differently."""
        size = self.cluster.size
        self._file.begin(start=self._start, nodes=size, settings=settings, gpus=len(machine.gpus()))
        say(f"waiting for {size - 1} more node{'s' * (size > 2)}, in {self._run.nodes}")
        give_up_at = time.monotonic() + JOIN_WITHIN
        while missing := [rank for rank in self._others if not self._has_joined(rank)]:
            if time.monotonic() > give_up_at:
                raise UserError(
                    f"node {missing[0]} has not joined within {JOIN_WITHIN:.0f} s: start the same command there, with "
                    f"NODES={size} NODE_RANK={missing[0]} MASTER_ADDR={self.cluster.address}"
                )
            time.sleep(LOOK)
        self._all_joined = True
        self._file.add(joined=True)

    def _has_joined(self, rank: int) -> bool:
        lines = self._lines(rank)
        if lines and (problem := lines[0].get("problem")):
            raise UserError(str(problem))
        return bool(lines) and "end" not in lines[-1] and self._hearts[rank].heard and not self._hearts[rank].lost

    def _lines(self, rank: int) -> list[dict[str, Any]]:
        lines = self._others[rank].read()
        return lines if lines and lines[0].get("start") == self._start else []

    def problem(self) -> BaseException | None:
        """Return why this node cannot go on, if so."""
        for heart in self._hearts.values():
            heart.look()
        if not self._all_joined:
            return None
        for rank, heart in self._hearts.items():
            if heart.lost:
                return NodeFailed(_silent(rank))
            last = (self._lines(rank) or [{}])[-1]
            if last.get("end") == "stopped":
                return Stopped()
            if "end" in last:
                return NodeFailed(f"node {rank} has ended: {last['end']}")
            if (order := self._order) and last.get("order") == order.id and last["status"]:
                self._failed_at = self._failed_at or time.monotonic()
                if time.monotonic() > self._failed_at + CASCADE:
                    return _failure(order, rank, last)
        return None

    @contextlib.contextmanager
    def together(self, stage: str, run: RunDir, files: dict[str, str | None], port: int | None) -> Iterator[str]:
        """Have all nodes do their parts of a stage, this one in the block; yields the order's id. Errors name nodes."""
        order = Order(secrets.token_hex(8), stage, str(run.root), files, port)
        self._order, self._failed_at = order, None
        self._file.add(**asdict(order))
        try:
            yield order.id
        except ChildFailed as error:
            # If another node's death is the cause, its silence ends this wait with NodeFailed.
            self._order = None
            for rank, line in self._parts(order, patience=heartbeat.SILENT + 3 * heartbeat.INTERVAL):
                if line["status"]:
                    error.reason += f"\nnode {rank}: {line['reason']}"
            raise
        for rank, line in self._parts(order):
            if line["status"]:
                raise _failure(order, rank, line)

    def _parts(self, order: Order, patience: float = math.inf) -> list[tuple[int, dict[str, Any]]]:
        """Wait for the other nodes' results, at most `patience` seconds, and return those there are, by rank."""
        give_up_at = time.monotonic() + patience
        while True:
            lines = ((rank, line) for rank in self._others for line in self._lines(rank))
            parts = [(rank, line) for rank, line in lines if line.get("order") == order.id]
            if len(parts) == len(self._others) or time.monotonic() > give_up_at:
                return parts
            time.sleep(LOOK)

    def end(self, how: str, reason: str = "") -> None:
        """Tell the others that the run has ended: done, refused, stopped or failed."""
        self._file.add(end=how, reason=reason)


leading: Node0 | None = None
"""Set while this process is node 0 of a run."""


@contextlib.contextmanager
def lead(cluster: Cluster, run: RunDir, settings: dict[str, Any]) -> Iterator[None]:
    """Run the block as node 0 once all others have joined, and tell them how it ends. `settings` are the config's and
    must be the same on all nodes. UserError as Node0.wait_for_all; NodeFailed once another node is lost."""
    global leading
    with own_node(run, 0):
        node = Node0(cluster, run)
        try:
            with beating(run.heartbeat(0), node.problem):
                node.wait_for_all(settings)
                leading = node
                yield
        except BaseException as error:  # outside of the heartbeat, which would raise another one meanwhile
            kinds = {UserError: "refused", Stopped: "stopped"}
            node.end(kinds.get(type(error), "failed"), str(error).partition("\n")[0])
            raise
        finally:
            leading = None
        node.end("done")


class OtherNode:
    """A node that does its part of node 0's stages."""

    def __init__(self, cluster: Cluster, run: RunDir) -> None:
        self._name = f"node {cluster.rank}"
        self._cluster = cluster
        self._run = run
        self._file = NodeFile(run.node(cluster.rank))
        self._node_0 = NodeFile(run.node(0))
        self._heart = Heart(run.heartbeat(0))
        self._start: str | None = None
        self._all_joined = False

    def join(self, settings: dict[str, Any]) -> None:
        """Wait for node 0 and all others. UserError if they do not come, or were started differently."""
        say(f"{self._name}: waiting for node 0 of {self._run.root}")
        give_up_at = time.monotonic() + JOIN_WITHIN
        while not (self._start and any("joined" in line for line in self._lines())):
            lines = self._node_0.read()
            if lines and "end" not in lines[-1] and lines[0].get("start") != self._start and self._heart.heard:
                problem = self._mismatch(lines[0], settings)
                self._file.begin(start=lines[0]["start"], problem=problem)
                if problem:
                    raise UserError(problem)
                self._start = lines[0]["start"]
            if time.monotonic() > give_up_at:
                raise UserError(
                    f"node 0 and all others have not come to {self._run.root} within {JOIN_WITHIN:.0f} s: start the "
                    f"same command on node 0, with NODES={self._cluster.size} NODE_RANK=0; run_dir must be on a file "
                    "system that all nodes share"
                )
            time.sleep(LOOK)
        self._all_joined = True
        say(f"{self._name}: joined")

    def _mismatch(self, first: dict[str, Any], settings: dict[str, Any]) -> str | None:
        """Compare this node with node 0's first line; returns why it cannot join, if so."""
        if first["nodes"] != self._cluster.size:
            return f"{self._name} was started with NODES={self._cluster.size}, and node 0 with NODES={first['nodes']}"
        ours, theirs = _flat(settings), _flat(first["settings"])
        for key in sorted({**ours, **theirs}, key=lambda key: (key == "name", key)):  # name derives from the others
            if ours.get(key) != theirs.get(key):
                return (
                    f"{self._name} was started with {key}={ours.get(key)}, and node 0 with {theirs.get(key)}: the "
                    "command must be the same on all nodes"
                )
        if first["gpus"] != (gpus := len(machine.gpus())):
            return f"{self._name} has {gpus} GPUs, and node 0 has {first['gpus']}; all nodes must have the same"
        return None

    def _lines(self) -> list[dict[str, Any]]:
        """Read node 0's lines for this start, without the first. UserError, Stopped or NodeFailed if it ended badly."""
        lines = self._node_0.read()
        if not lines or lines[0].get("start") != self._start:
            if lines and self._all_joined:
                raise NodeFailed(f"node 0 has been started again without {self._name}: start the command here again")
            return []
        match lines[-1]:
            case {"end": "refused", "reason": str(reason)}:
                raise UserError(reason)
            case {"end": "failed", "reason": str(reason)}:
                raise NodeFailed(f"node 0 has ended, so {self._name} ends too: {reason}")
            case {"end": "stopped"}:  # as by Ctrl-C: it is node 0 that goes back into a scheduler's queue
                raise Stopped(signal.SIGINT, reason=f"node 0 was stopped, so {self._name} ends too")
        return lines[1:]

    def problem(self) -> BaseException | None:
        """Return why this node cannot go on, if so."""
        self._heart.look()
        if self._all_joined and self._heart.lost:
            return NodeFailed(_silent(0))
        try:
            self._lines()
        except (UserError, NodeFailed, Stopped) as error:
            return error
        return None

    def serve(self, work: Callable[[Order], None]) -> None:
        """Do this node's part of each stage until node 0 is done."""
        served = 0
        while True:
            for line in self._lines()[served:]:
                served += 1
                if "end" in line:
                    return
                if "stage" in line:
                    self._do(Order(**line), work)
            time.sleep(LOOK)

    def end(self, error: BaseException) -> None:
        """Tell node 0 why this node ends. If it was stopped because node 0 has ended, raise that as the reason."""
        self._file.add(end="stopped" if isinstance(error, Stopped) else str(error))
        if isinstance(error, Stopped):
            self._lines()

    def _do(self, order: Order, work: Callable[[Order], None]) -> None:
        status, reason, log = 0, "", ""
        try:
            shared_files.wait_for(order.files)
            work(order)
        except ChildFailed as error:
            status, reason, log = error.status, error.reason, str(error.log)
        except (UserError, OSError) as error:
            status, reason = 2, str(error)
        self._file.add(order=order.id, status=status, reason=reason, log=log)


def follow(cluster: Cluster, run: RunDir, settings: dict[str, Any], work: Callable[[Order], None]) -> None:
    """Run a node other than 0 until node 0 is done; `work` does its part of a stage. UserError as OtherNode.join;
    NodeFailed once node 0 is lost or has failed."""
    with own_node(run, cluster.rank):
        node = OtherNode(cluster, run)
        try:
            with beating(run.heartbeat(cluster.rank), node.problem):
                node.join(settings)
                node.serve(work)
        except BaseException as error:  # as in lead
            node.end(error)
            raise


def _failure(order: Order, rank: int, line: dict[str, Any]) -> ChildFailed:
    return ChildFailed(f"{order.stage} on node {rank}", line["status"], line["reason"], Path(line["log"]))


def _silent(rank: int) -> str:
    return (
        f"node {rank} has not been heard for {heartbeat.SILENT:.0f} s: it is down, stopped, or cut off from the run "
        "folder; resume with the same command on all nodes"
    )


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name, part in value.items() for k, v in _flat(part, f"{key}.{name}" if key else name).items()}
