"""Distribute the prompts over the nodes of a run: the first node assigns batches and writes the predictions.

Files in `.nodes` of the run folder, named after this start of the stage, hold the batches of each node, and each other
node's answers as token ids. What is read from them is checked.
"""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sciriff.data.general_rows import LogLikelihood, Token
from sciriff.models.engines import Answer
from sciriff.run.json_lines import record_of
from sciriff.run.locks import make_nodes_folder
from sciriff.run.nodes import cluster, shared_files
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.nodes.everywhere import START
from sciriff.run.run_dir import RunDir
from sciriff.run.typed_json import Count
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import append_lines, write_whole

LOOK = 0.5
"""Seconds between two looks at files of other nodes when nothing else is left to do."""


@dataclass(frozen=True)
class NodeAnswer:
    """An answer in another node's file."""

    asked: str
    """Digest of the prompts and settings."""
    place: Count
    """Index of the prompt."""
    token_ids: list[Token]
    finish_reason: Literal["stop", "length", "scored"]
    log_likelihoods: list[LogLikelihood] = field(default_factory=list)
    greedy: list[bool] = field(default_factory=list)

    @property
    def answer(self) -> Answer:
        return Answer(self.place, self.token_ids, self.finish_reason, self.log_likelihoods, self.greedy)


def nodes() -> Cluster:
    """Return the nodes on which the driver has started this stage, else this machine alone."""
    return cluster.here() if START in os.environ else Cluster()


class Shares:
    """The batches and answers of each node in one start of the stage, on several nodes or one."""

    def __init__(self, run: RunDir, cluster: Cluster, engines: Sequence[int], asked: str) -> None:
        """`engines`: replicas on each node; `asked`: digest of the prompts and settings, the same on all nodes."""
        self._run = run
        self._rank = cluster.rank
        self._engines = [node for node, count in enumerate(engines) for _ in range(count)]
        self._others = range(1, cluster.size)
        self._start = os.environ.get(START, "")
        self._asked = asked
        self._read = dict.fromkeys(self._others, 0)
        self._missing: dict[int, set[int]] = {}

    def left_behind(self, places: Collection[int]) -> list[Answer]:
        """On the first node: read what other nodes answered after the first was killed, as far as it is readable."""
        answers: list[Answer] = []
        for path in sorted(self._run.nodes.glob(self._run.share("*", "*").name)):
            with contextlib.suppress(UserError):
                rows = _read_answers(path, path.read_bytes())
                answers += [row.answer for row in rows if row.asked == self._asked and row.place in places]
        return answers

    def deal(self, batches: list[list[int]]) -> list[list[int]]:
        """On the first node: write which node answers which batches. Returns this node's."""
        shares: list[list[list[int]]] = [[] for _ in (0, *self._others)]
        for engine, batch in zip(itertools.cycle(self._engines), batches, strict=False):
            shares[engine].append(batch)
        if self._others:
            make_nodes_folder(self._run)
            write_whole(self._run.shares(self._start), json.dumps({"asked": self._asked, "batches": shares}))
        self._missing = {node: set(itertools.chain(*shares[node])) for node in self._others}
        return shares[0]

    def dealt(self) -> list[list[int]]:
        """On another node: wait for its batches. UserError if the first node has other prompts or settings."""
        path = self._run.shares(self._start)
        while not shared_files.is_here(path):  # this process ends with the first node
            time.sleep(LOOK)
        plan = json.loads(path.read_bytes())
        if plan["asked"] != self._asked:
            raise UserError(
                f"node {self._rank} has other prompts or settings than node 0: all need the same files and versions"
            )
        self._run.share(self._start, self._rank).touch()  # the first node's `end` waits for it
        batches: list[list[int]] = plan["batches"][self._rank]
        return batches

    def answer(self, stream: Iterable[list[Answer]]) -> None:
        """On another node: write its answers as they come."""
        path = self._run.share(self._start, self._rank)
        for answers in stream:
            append_lines(path, (json.dumps({"asked": self._asked, **vars(answer)}) + "\n" for answer in answers))

    def collect(self, stream: Iterable[list[Answer]]) -> Iterator[list[Answer]]:
        """On the first node: yield its answers, from `stream`, and those of the others as they come."""
        for answers in stream:
            yield answers
            yield from self._arrived()
        while any(self._missing.values()):
            time.sleep(LOOK)
            yield from self._arrived()

    def _arrived(self) -> Iterator[list[Answer]]:
        """Yield what the other nodes have written since the last look."""
        for node in self._others:
            path = self._run.share(self._start, node)
            if not shared_files.is_here(path):
                continue
            with path.open("rb") as file:
                file.seek(self._read[node])
                data = file.read()
            data = data[: data.rfind(b"\n") + 1]
            self._read[node] += len(data)
            rows = _read_answers(path, data)
            for row in rows:
                if row.asked != self._asked or row.place not in self._missing[node]:
                    raise UserError(f"{path}: place {row.place} is answered twice, or was not asked of node {node}")
                self._missing[node].remove(row.place)
            if rows:
                yield [row.answer for row in rows]

    def end(self) -> None:
        """On the first node, once all answers are saved: wait until each node has read which batches are its own,
        which may be none, then remove the files."""
        while not all(shared_files.is_here(self._run.share(self._start, node)) for node in self._others):
            time.sleep(LOOK)
        self.clear()

    def clear(self) -> None:
        """On the first node: remove the files of this and earlier starts."""
        for pattern in (self._run.shares("*"), self._run.share("*", "*")):
            for path in self._run.nodes.glob(pattern.name):
                path.unlink()


def _read_answers(path: Path, data: bytes) -> list[NodeAnswer]:
    """Read the answers on complete lines. UserError names a line that is not an answer."""
    return [record_of(line, NodeAnswer, path, number) for number, line in enumerate(data.split(b"\n")[:-1], 1)]
