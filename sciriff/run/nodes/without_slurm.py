"""Nodes without Slurm: the same command on each. Node 0 runs the stages; the others do their part of those that all
nodes run together, and wait for the next.

They meet in files of the run folder, below `.nodes`, which its owner alone can read: each node has one that it alone
writes. Every start of node 0 has an id of its own, so that nothing of an earlier start is taken for one of this.
"""

import contextlib
import math
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sciriff.run import machine
from sciriff.run.locks import own_node
from sciriff.run.nodes import heartbeat, shared_files
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.nodes.heartbeat import Heart, beating
from sciriff.run.nodes.node_file import NodeFile
from sciriff.run.run_dir import RunDir
from sciriff.run.spawn import ChildFailed, Stopped
from sciriff.run.user_error import UserError

JOIN_WITHIN = 600.0
"""Seconds. Nodes of a cloud are not ready at the same moment."""

LOOK = 0.5
"""Seconds between two looks at another node's file."""

CASCADE = 10.0
"""Seconds that node 0's part of a stage has to end by itself once that of another node has failed."""


class NodeFailed(Exception):
    """Another node is lost, or has ended before the run was finished."""


@dataclass(frozen=True)
class Order:
    """A stage for all nodes."""

    id: str
    stage: str
    run_dir: str
    files: dict[str, str | None]
    """What node 0 has written for it, with digests, as shared_files.wait_for takes it."""
    port: int | None = None
    """Of node 0, where the processes of training meet."""


class Node0:
    """The node that runs the stages, as the others see it."""

    def __init__(self, cluster: Cluster, run: RunDir) -> None:
        self.cluster = cluster
        self._run = run
        self._start = secrets.token_hex(8)
        self._own = NodeFile(run.node(0))
        self._others = {rank: NodeFile(run.node(rank)) for rank in range(1, cluster.size)}
        self._hearts = {rank: Heart(run.heartbeat(rank)) for rank in self._others}
        self._all_joined = False
        self._order: Order | None = None
        self._failed_at: float | None = None

    def wait_for_all(self, settings: dict[str, Any]) -> None:
        """Wait until all other nodes have joined. UserError where one does not come or does not go with this one."""
        size, gpus = self.cluster.size, len(machine.gpus())
        self._own.begin(start=self._start, nodes=size, settings=settings, gpus=gpus)
        _say(f"waiting for {size - 1} more node{'s' * (size > 2)}, in {self._run.nodes}")
        give_up_at = time.monotonic() + JOIN_WITHIN
        while missing := [rank for rank in self._others if not self._has_joined(rank)]:
            if time.monotonic() > give_up_at:
                raise UserError(
                    f"node {missing[0]} has not joined within {JOIN_WITHIN:.0f} s: start the same command there, with "
                    f"NODES={size} NODE_RANK={missing[0]} MASTER_ADDR={self.cluster.address}"
                )
            time.sleep(LOOK)
        self._all_joined = True
        self._own.add(joined=True)

    def _has_joined(self, rank: int) -> bool:
        lines = self._said_by(rank)
        if lines and (problem := lines[0].get("problem")):
            raise UserError(str(problem))
        return bool(lines) and "end" not in lines[-1] and self._hearts[rank].heard and not self._hearts[rank].lost

    def _said_by(self, rank: int) -> list[dict[str, Any]]:
        """The lines of a node for this start."""
        lines = self._others[rank].read()
        return lines if lines and lines[0].get("start") == self._start else []

    def problem(self) -> BaseException | None:
        """Why this node cannot go on."""
        for heart in self._hearts.values():
            heart.look()
        if not self._all_joined:
            return None
        for rank, heart in self._hearts.items():
            if heart.lost:
                return NodeFailed(_silent(rank))
            last = (self._said_by(rank) or [{}])[-1]
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
        """Have the other nodes do their part of a stage while the block does that of this node. Yields the id of the
        order. NodeFailed or ChildFailed, naming the node, where one of them cannot."""
        order = Order(secrets.token_hex(8), stage, str(run.root), files, port)
        self._order, self._failed_at = order, None
        self._own.add(**asdict(order))
        try:
            yield order.id
        except ChildFailed as error:
            # Whether another node's death is the cause shows when it is silent, which ends this wait with NodeFailed.
            self._order = None
            for rank, line in self._parts(order, patience=heartbeat.SILENT + 3 * heartbeat.INTERVAL):
                if line["status"]:
                    error.reason += f"\nnode {rank}: {line['reason']}"
            raise
        for rank, line in self._parts(order):
            if line["status"]:
                raise _failure(order, rank, line)

    def _parts(self, order: Order, patience: float = math.inf) -> list[tuple[int, dict[str, Any]]]:
        """How the other nodes' parts have ended, by rank; after `patience` seconds those that are known by then."""
        parts: dict[int, dict[str, Any]] = {}
        give_up_at = time.monotonic() + patience
        while True:
            for rank in self._others:
                for line in self._said_by(rank):
                    if line.get("order") == order.id:
                        parts[rank] = line
            if len(parts) == len(self._others) or time.monotonic() > give_up_at:
                return sorted(parts.items())
            time.sleep(LOOK)

    def end(self, how: str, reason: str = "") -> None:
        """Tell the others that the run has ended: done, refused, stopped or failed."""
        self._own.add(end=how, reason=reason)


leading: Node0 | None = None
"""This process, where it is node 0 of a run."""


@contextlib.contextmanager
def lead(cluster: Cluster, run: RunDir, settings: dict[str, Any]) -> Iterator[None]:
    """Be node 0, with all others joined, and tell them the end, however it comes about. `settings` are the config's;
    UserError as Node0.wait_for_all, NodeFailed wherever another node is lost."""
    global leading
    with own_node(run, 0):
        node = Node0(cluster, run)
        with beating(run.heartbeat(0), node.problem):
            try:
                node.wait_for_all(settings)
                leading = node
                yield
            except BaseException as error:
                kinds = {UserError: "refused", Stopped: "stopped"}
                node.end(kinds.get(type(error), "failed"), str(error).partition("\n")[0])
                raise
            finally:
                leading = None
            node.end("done")


class OtherNode:
    """A node that does its part of the stages of node 0."""

    def __init__(self, cluster: Cluster, run: RunDir) -> None:
        self._name = f"node {cluster.rank}"
        self._cluster = cluster
        self._run = run
        self._own = NodeFile(run.node(cluster.rank))
        self._node_0 = NodeFile(run.node(0))
        self._heart = Heart(run.heartbeat(0))
        self._start: str | None = None
        self._all_joined = False

    def join(self, settings: dict[str, Any]) -> None:
        """Wait for node 0 and all others. UserError where it is not there, or does not take this node."""
        _say(f"{self._name}: waiting for node 0 of {self._run.root}")
        give_up_at = time.monotonic() + JOIN_WITHIN
        while not (self._start and any("joined" in line for line in self._said())):
            lines = self._node_0.read()
            if lines and "end" not in lines[-1] and lines[0].get("start") != self._start and self._heart.heard:
                problem = self._mismatch(lines[0], settings)
                self._own.begin(start=lines[0]["start"], problem=problem)
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
        _say(f"{self._name}: joined")

    def _mismatch(self, first: dict[str, Any], settings: dict[str, Any]) -> str | None:
        """Why this node cannot be one of the run, by node 0's first line."""
        if first["nodes"] != self._cluster.size:
            return f"{self._name} was started with NODES={self._cluster.size}, and node 0 with NODES={first['nodes']}"
        ours, theirs = _flat(settings), _flat(first["settings"])
        for key in sorted({**ours, **theirs}, key=lambda key: (key == "name", key)):  # a name is made of the others
            if ours.get(key) != theirs.get(key):
                return (
                    f"{self._name} was started with {key}={ours.get(key)}, and node 0 with {theirs.get(key)}: the "
                    "command must be the same on all nodes"
                )
        if first["gpus"] != (gpus := len(machine.gpus())):
            return f"{self._name} has {gpus} GPUs, and node 0 has {first['gpus']}; all nodes must have the same"
        return None

    def _said(self) -> list[dict[str, Any]]:
        """What node 0 has said since its start. UserError, Stopped or NodeFailed where it has ended, and not well."""
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
        """Why this node cannot go on, whatever it is doing."""
        self._heart.look()
        if self._all_joined and self._heart.lost:
            return NodeFailed(_silent(0))
        try:
            self._said()
        except (UserError, NodeFailed, Stopped) as error:
            return error
        return None

    def serve(self, work: Callable[[Order], None]) -> None:
        """Do this node's part of each stage until node 0 is done."""
        served = 0
        while True:
            for line in self._said()[served:]:
                served += 1
                if "end" in line:
                    return
                if "stage" in line:
                    self._do(Order(**line), work)
            time.sleep(LOOK)

    def end(self, error: BaseException) -> None:
        """Tell node 0 why this node ends. Where node 0 has ended before, raise that as the reason."""
        self._own.add(end="stopped" if isinstance(error, Stopped) else str(error))
        if isinstance(error, Stopped):
            self._said()

    def _do(self, order: Order, work: Callable[[Order], None]) -> None:
        status, reason, log = 0, "", ""
        try:
            shared_files.wait_for(order.files)
            work(order)
        except ChildFailed as error:
            status, reason, log = error.status, error.reason, str(error.log)
        except (UserError, OSError) as error:
            status, reason = 2, str(error)
        self._own.add(order=order.id, status=status, reason=reason, log=log)


def follow(cluster: Cluster, run: RunDir, settings: dict[str, Any], work: Callable[[Order], None]) -> None:
    """Be another node than 0 until that is done; `work` does this node's part of a stage. UserError as OtherNode.join,
    NodeFailed wherever node 0 is lost or ends otherwise than well."""
    with own_node(run, cluster.rank):
        node = OtherNode(cluster, run)
        with beating(run.heartbeat(cluster.rank), node.problem):
            try:
                node.join(settings)
                node.serve(work)
            except BaseException as error:
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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
