"""Nodes without Slurm: who may join, how they work together, and what each is told when another one ends or is lost."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sciriff.run.nodes import heartbeat
from sciriff.run.nodes.heartbeat import Heart
from sciriff.run.nodes.node_file import NodeFile
from sciriff.run.run_dir import RunDir

NODE = """
import json, os, signal, sys
from pathlib import Path
from sciriff.run import machine, spawn
from sciriff.run.nodes import heartbeat, without_slurm
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

given = json.loads(sys.argv[1])
heartbeat.INTERVAL, heartbeat.SILENT, without_slurm.LOOK, without_slurm.CASCADE = 0.1, 2.0, 0.05, 1.0
without_slurm.JOIN_WITHIN = given["join_within"]
machine.gpus = lambda: [None] * given["gpus"]
for number in spawn.ASKS_TO_STOP:
    signal.signal(number, spawn.stop_between_children)
run, rank = RunDir(Path(given["folder"])), given["rank"]
cluster = Cluster(tuple(f"node {number}" for number in range(given["nodes"])), rank, "127.0.0.1")

def part(script, start):
    print(f"node {rank} does its part in {start}", flush=True)
    spawn.run("part", ["sh", "-c", script], run.root / f"log-{rank}", {"RANK": str(rank)})

try:
    if rank:
        without_slurm.follow(cluster, run, given["settings"], lambda order: part(order.stage, order.id))
    else:
        with without_slurm.lead(cluster, run, given["settings"]):
            for script in given["stages"]:
                with without_slurm.leading.together(script, run, {}, None) as start:
                    part(script, start)
except (UserError, without_slurm.NodeFailed, spawn.ChildFailed, spawn.Stopped) as error:
    print(f"{type(error).__name__}: {error}: {getattr(error, 'reason', '')}", flush=True)
    sys.exit(1)
print("done")
"""
"""A driver whose stages are scripts of a shell, and whose seconds are tenths."""

SETTINGS = {"seed": 1, "train": {"epochs": 2}}
LONG = "echo $$ > pid-$RANK; sleep 1000"


class Nodes:
    """`nodes.start(rank)` starts a node in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = RunDir(folder)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, rank: int, *stages: str, **changes: Any) -> "subprocess.Popen[str]":
        given = {"nodes": 2, "rank": rank, "stages": stages, "settings": SETTINGS, "gpus": 0, "join_within": 60}
        process = subprocess.Popen(
            [sys.executable, "-c", NODE, json.dumps({**given, "folder": str(self.folder), **changes})],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def in_a_long_stage(self, nodes: int = 2) -> "list[subprocess.Popen[str]]":
        """Nodes of which each is in the middle of its part."""
        started = [self.start(rank, LONG, nodes=nodes) for rank in range(nodes)]
        self.wait_for(*(f"pid-{rank}" for rank in range(nodes)))
        return started

    def wait_for(self, *names: str) -> None:
        give_up_at = time.monotonic() + 60
        while not all((self.folder / name).is_file() for name in names):
            assert time.monotonic() < give_up_at, [path.name for path in self.folder.iterdir()]
            time.sleep(0.05)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]") -> str:
    return process.communicate(timeout=60)[0]


def is_gone(folder: Path, rank: int) -> bool:
    """Whether the child of a node has ended with it."""
    status = Path(f"/proc/{(folder / f'pid-{rank}').read_text().strip()}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def test_each_does_its_part_of_every_stage_until_node_0_is_done(nodes: Nodes) -> None:
    others = [nodes.start(rank, nodes=3) for rank in (1, 2)]
    first = nodes.start(0, "true", "echo seen on $RANK", nodes=3)
    outputs = [said(process) for process in (first, *others)]
    assert [process.returncode for process in (first, *others)] == [0, 0, 0], outputs
    parts = [[line.split()[-1] for line in output.splitlines() if "does its part" in line] for output in outputs]
    assert len(set(parts[0])) == 2 and parts[0] == parts[1] == parts[2], "every start of a stage has an id of its own"
    assert (nodes.folder / "log-2").read_text().endswith("seen on 2\n")
    assert stat.S_IMODE(nodes.run.nodes.stat().st_mode) == 0o700


@pytest.mark.parametrize("script", ["exit $((3 * RANK))", "test $RANK = 0 && sleep 1000; exit 3"])
def test_a_part_that_fails_ends_all_and_is_named(script: str, nodes: Nodes) -> None:
    other = nodes.start(1)
    first = nodes.start(0, f"echo error: no room; {script}")
    output = said(first)
    assert "on node 1 failed (exit status 3)" in output and "no room" in output
    assert "NodeFailed: node 0 has ended" in said(other)


def test_where_both_fail_both_reasons_are_said(nodes: Nodes) -> None:
    nodes.start(1)
    output = said(nodes.start(0, "echo error: reason $RANK; exit 1"))
    assert "ChildFailed: part failed" in output and "reason 0\nnode 1: reason 1" in output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_node_that_is_dead_or_silent_is_named_and_the_same_commands_resume(
    victim: int, number: signal.Signals, nodes: Nodes
) -> None:
    both = nodes.in_a_long_stage()
    both[victim].send_signal(number)
    assert f"NodeFailed: node {victim} has not been heard" in said(both[1 - victim])
    assert is_gone(nodes.folder, 1 - victim)
    both[victim].kill()
    both[victim].wait()
    other = nodes.start(1)
    time.sleep(0.5)  # it finds the files of the start before
    first = nodes.start(0, "true")
    assert (said(first).splitlines()[-1], said(other).splitlines()[-1]) == ("done", "done")


def test_all_are_told_which_one_is_lost(nodes: Nodes) -> None:
    three = nodes.in_a_long_stage(nodes=3)
    three[2].kill()
    assert "NodeFailed: node 2 has not been heard" in said(three[0])
    output = said(three[1])
    assert "NodeFailed: node 0 has ended" in output and "node 2 has not been heard" in output


def test_a_death_that_fails_a_part_elsewhere_is_not_blamed_on_that(nodes: Nodes) -> None:
    """As torchrun's processes do, whose connections break at once."""
    first = nodes.start(0, "echo $$ > pid-$RANK; while test ! -e broken; do sleep 0.1; done; test $RANK = 1")
    other = nodes.start(1)
    nodes.wait_for("pid-0", "pid-1")
    other.kill()
    (nodes.folder / "broken").touch()
    assert "NodeFailed: node 1 has not been heard" in said(first)


@pytest.mark.parametrize("stopped", [0, 1])
def test_ctrl_c_on_one_stops_all_in_order(stopped: int, nodes: Nodes) -> None:
    script = "trap 'touch asked-$RANK; exit' TERM; touch began-$RANK; while true; do sleep 0.1; done"
    both = [nodes.start(rank, script) for rank in (0, 1)]
    nodes.wait_for("began-0", "began-1")
    both[stopped].send_signal(signal.SIGINT)
    outputs = [said(process) for process in both]
    assert all("Stopped" in output for output in outputs), outputs
    assert (nodes.folder / "asked-0").exists() and (nodes.folder / "asked-1").exists()


def test_a_stop_while_others_are_awaited_ends_who_has_come(nodes: Nodes) -> None:
    first, other = nodes.start(0, nodes=3), nodes.start(1, nodes=3)
    nodes.wait_for(".nodes/node-1.jsonl")
    first.send_signal(signal.SIGINT)
    assert "Stopped" in said(first)
    assert "node 0 was stopped" in said(other)


def test_a_node_that_ends_while_others_are_awaited_may_join_again(nodes: Nodes) -> None:
    first, gone = nodes.start(0, nodes=3), nodes.start(1, nodes=3)
    nodes.wait_for(".nodes/node-1.jsonl")
    gone.send_signal(signal.SIGINT)
    said(gone)
    again, last = nodes.start(1, nodes=3), nodes.start(2, nodes=3)
    assert [said(process).splitlines()[-1] for process in (first, again, last)] == ["done"] * 3


def test_node_0_may_start_again_while_others_are_awaited(nodes: Nodes) -> None:
    gone, other = nodes.start(0, nodes=3), nodes.start(1, nodes=3)
    nodes.wait_for(".nodes/node-1.jsonl")
    gone.kill()
    gone.wait()
    both = nodes.start(0, nodes=3), nodes.start(2, nodes=3)
    assert [said(process).splitlines()[-1] for process in (*both, other)] == ["done"] * 3


def test_a_node_of_a_start_before_does_not_follow_another(nodes: Nodes) -> None:
    both = nodes.in_a_long_stage()
    both[1].send_signal(signal.SIGSTOP)
    said(both[0])
    again = nodes.start(0)
    nodes.wait_for(".nodes/node-0.jsonl")
    time.sleep(0.5)
    twin = nodes.start(1)
    assert "NODE_RANK=1" in said(twin), "it is still alive"
    both[1].send_signal(signal.SIGCONT)
    assert "NodeFailed: node 0 has" in said(both[1])
    both.append(nodes.start(1))
    assert (said(again).splitlines()[-1], said(both[2]).splitlines()[-1]) == ("done", "done")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_number_given_twice_is_refused_and_the_first_goes_on(rank: int, nodes: Nodes) -> None:
    both = nodes.in_a_long_stage()
    output = said(nodes.start(rank))
    assert "UserError" in output and ("in use by another run", "NODE_RANK=1")[rank] in output
    time.sleep(0.5)
    assert [process.poll() for process in both] == [None, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"settings": {"seed": 1, "train": {"epochs": 3}}},
            "node 1 was started with train.epochs=3, and node 0 with 2",
        ),
        ({"settings": {"seed": 1, "train": {}}}, "node 1 was started with train.epochs=None, and node 0 with 2"),
        ({"nodes": 3}, "node 1 was started with NODES=3, and node 0 with NODES=2"),
        ({"gpus": 4}, "node 1 has 4 GPUs, and node 0 has 0"),
    ],
)
def test_nodes_that_do_not_go_together_are_told_on_both(changes: dict[str, Any], message: str, nodes: Nodes) -> None:
    both = nodes.start(0), nodes.start(1, **changes)
    for process in both:
        assert f"UserError: {message}" in said(process)


def test_one_that_does_not_come_is_named(nodes: Nodes) -> None:
    output = said(nodes.start(0, join_within=0.5))
    assert "node 1 has not joined" in output and "NODES=2 NODE_RANK=1 MASTER_ADDR=127.0.0.1" in output
    output = said(nodes.start(1, join_within=0.5))
    assert "NODES=2 NODE_RANK=0" in output and str(nodes.folder) in output


def test_only_a_change_is_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, now = tmp_path / "heartbeat", 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    file.write_text("left behind")
    heart = Heart(file)
    for seconds in range(40):
        now += 1
        heart.look()
        assert (heart.heard, heart.lost) == (False, seconds >= heartbeat.SILENT)
    file.write_text("beats")
    os.utime(file, (0, 0))  # the other machine's clock is years behind
    heart.look()
    assert (heart.heard, heart.lost) == (True, False)
    now += 1000  # this process was stopped meanwhile, and not the other one
    heart.look()
    assert not heart.lost
    file.unlink()
    for _ in range(20):
        now += 2
        heart.look()
    assert heart.lost


def test_half_a_line_is_none(tmp_path: Path) -> None:
    file = NodeFile(tmp_path / "node-1.jsonl")
    assert file.read() == []
    file.begin(start="a")
    file.add(stage="train")
    with file.path.open("a") as more:
        more.write('{"half')
    assert file.read() == [{"start": "a"}, {"stage": "train"}]
    file.begin(start="b")
    assert file.read() == [{"start": "b"}]
