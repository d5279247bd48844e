"""Nodes without Slurm: who may join, and what is said where the commands do not go together."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sciriff.run import machine
from sciriff.run.nodes import joined_nodes, joining_node, node_connection, start_on_joined
from sciriff.run.nodes.cluster import RANK, Cluster
from sciriff.run.run_dir import RunDir

KEY = b"a key"
SETTINGS = {"seed": 1, "train": {"epochs": 2}}


@contextmanager
def listening(key: bytes) -> Iterator[tuple[int, list[Connection | None]]]:
    """The port of a listener that takes one who connects, and what became of it."""
    taken: list[Connection | None] = []
    with node_connection.listen() as listener:
        thread = threading.Thread(target=lambda: taken.append(node_connection.accept(listener, key)))
        thread.start()
        yield listener.getsockname()[1], taken
        thread.join()


def test_objects_travel_between_those_who_have_the_key() -> None:
    with listening(KEY) as (port, taken):
        there = node_connection.connect("127.0.0.1", port, KEY, patience=5)
    here = taken[0]
    assert here is not None
    here.send(["much", "x" * 100_000])
    assert there.recv() == ["much", "x" * 100_000]


def test_nobody_else_gets_in() -> None:
    with listening(KEY) as (port, taken), pytest.raises(AuthenticationError):
        node_connection.connect("127.0.0.1", port, b"another key", patience=0)
    assert taken == [None]


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_who_connects_and_proves_nothing_is_sent_away(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_connection, "SILENT", 1)
    with listening(KEY) as (port, taken), socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(said)
        with suppress(ConnectionResetError):
            while stranger.recv(1000):
                pass
    assert taken == [None]


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    for _ in range(2):
        node_connection.write_key(tmp_path / "key", KEY)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_nobody_can_guess_a_key() -> None:
    assert node_connection.new_key() != node_connection.new_key()
    assert len(node_connection.new_key()) == 64


def join(there: Cluster, run: RunDir, settings: dict[str, object]) -> tuple[threading.Thread, list[str]]:
    """A node that joins in a thread, and what it raises, and in the end `done`."""
    said: list[str] = []

    def serve() -> None:
        try:
            joining_node.serve(there, run, settings)
            said.append("done")
        except (ValueError, joining_node.DriverFailed) as error:
            said.append(str(error))

    thread = threading.Thread(target=serve)
    thread.start()
    return thread, said


@pytest.fixture
def two() -> list[Cluster]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [Cluster(("node 0", "node 1"), rank, "127.0.0.1", port) for rank in (0, 1)]


def test_a_node_runs_what_it_is_told_until_the_driver_is_done(two: list[Cluster], tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    code = "import os, sys; print(f'node {sys.argv[1]} has', os.environ.get('GREETING'))"
    start = [sys.executable, "-m", "sciriff.run.nodes.start_on_joined", sys.executable, "-c"]
    thread, said = join(two[1], run, SETTINGS)
    with joined_nodes.joined(two[0], run, SETTINGS):
        assert stat.S_IMODE(run.nodes_key.stat().st_mode) == 0o600
        environment = {**os.environ, "GREETING": "hello", start_on_joined.VARIABLES: '["GREETING"]'}
        for status in (0, 3):
            result = subprocess.run(
                [*start, f"{code}; sys.exit({status} * int(sys.argv[1]))", RANK],
                env=environment,
                pass_fds=joined_nodes.connections(),
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert result.returncode == status, result.stderr
            assert "node 1 has hello" in result.stdout
            assert ("what ran on node 1 ended with status 3" in result.stdout) == bool(status)
    thread.join()
    assert said == ["done"]
    assert not run.nodes_key.exists()
    assert not joined_nodes.connections()


def test_what_a_command_leaves_behind_keeps_no_node(two: list[Cluster], tmp_path: Path) -> None:
    """Both that are left hold the pipe open, one of them out of reach."""
    code = (
        "import subprocess, sys\n"
        "if sys.argv[1] == '1':\n"
        "    left = [subprocess.Popen(['sleep', '90'], start_new_session=new) for new in (False, True)]\n"
        "    print('left', *(process.pid for process in left), flush=True)\n"
        "    print('the last words', end='')\n"
    )
    command = [sys.executable, "-m", "sciriff.run.nodes.start_on_joined", sys.executable, "-c", code, RANK]
    thread, said = join(two[1], RunDir(tmp_path), SETTINGS)
    with joined_nodes.joined(two[0], RunDir(tmp_path), SETTINGS):
        descriptors = joined_nodes.connections()
        result = subprocess.run(command, pass_fds=descriptors, capture_output=True, text=True, timeout=30)
    thread.join()
    assert (result.returncode, said) == (0, ["done"])
    assert result.stdout.endswith("the last words")
    near, far = map(int, result.stdout.split()[1:3])
    os.kill(far, signal.SIGKILL)
    assert not Path(f"/proc/{near}").exists() or "State:\tZ" in Path(f"/proc/{near}/status").read_text()


def test_what_is_printed_comes_in_whole_lines() -> None:
    here, there = os.pipe()
    printed = joining_node.Printed(here)
    told = []
    for piece in ("one\ntw", "o ü"[:-1], "ü 10%\r20%", " \n"):
        os.write(there, piece.encode())
        told.append(printed.lines())
    assert (told, printed.lines()) == (["one\n", "", "two ü 10%\r", "20% \n"], "")
    os.write(there, b"end")
    os.close(there)
    assert (printed.lines(), printed.lines(), printed.open) == ("", "end", [])
    os.close(here)


def hello(rank: int, nodes: int) -> dict[str, object]:
    return {"rank": rank, "nodes": nodes, "settings": SETTINGS, "gpus": len(machine.gpus())}


def test_a_node_that_ends_while_others_are_awaited_may_join_again(two: list[Cluster], tmp_path: Path) -> None:
    driver, node = (Cluster(("node 0", "node 1", "node 2"), rank, "127.0.0.1", two[0].port) for rank in (0, 1))
    run = RunDir(tmp_path)
    answers = []

    def come_and_go() -> None:
        joining_node._join(node, run).close()  # says nothing
        with joining_node._join(node, run) as line:
            line.send(hello(1, 3))
            answers.append(line.recv())
        lines = []
        for rank in (1, 2):
            lines.append(joining_node._join(node, run))
            lines[-1].send(hello(rank, 3))
            answers.append(lines[-1].recv())
        answers.append(lines[0].recv())

    thread = threading.Thread(target=come_and_go)
    thread.start()
    with joined_nodes.joined(driver, run, SETTINGS):
        assert len(joined_nodes.connections()) == 2
    thread.join()
    assert answers == [("welcome", None)] * 3 + [("done", None)]


def test_two_nodes_of_one_number_are_told(two: list[Cluster], tmp_path: Path) -> None:
    driver = Cluster(("node 0", "node 1", "node 2"), 0, "127.0.0.1", two[0].port)
    run = RunDir(tmp_path)
    answers = []

    def both() -> None:
        lines = []
        for _ in range(2):
            lines.append(joining_node._join(two[1], run))
            lines[-1].send(hello(1, 3))
            answers.append(lines[-1].recv())

    thread = threading.Thread(target=both)
    thread.start()
    twice = pytest.raises(ValueError, match="two nodes have joined with NODE_RANK=1")
    with twice, joined_nodes.joined(driver, run, SETTINGS):
        pytest.fail("it was taken")
    thread.join()
    assert [word for word, _ in answers] == ["welcome", "refused"]


def test_a_driver_that_fails_ends_its_nodes(two: list[Cluster], tmp_path: Path) -> None:
    thread, said = join(two[1], RunDir(tmp_path), SETTINGS)
    with pytest.raises(ZeroDivisionError), joined_nodes.joined(two[0], RunDir(tmp_path), SETTINGS):
        raise ZeroDivisionError
    thread.join()
    assert said == ["the driver on node 0 (127.0.0.1) has ended, and says there why; so node 1 ends too"]


@pytest.mark.parametrize(
    ("nodes", "settings", "gpus", "message"),
    [
        (2, {"seed": 1, "train": {"epochs": 3}}, 0, "node 1 was started with train.epochs=3, and node 0 with 2: the "),
        (2, {"seed": 1, "train": {}}, 0, "node 1 was started with train.epochs=None, and node 0 with 2: the "),
        (3, SETTINGS, 0, "node 1 was started with NODES=3, and node 0 with NODES=2"),
        (2, SETTINGS, 4, "node 1 has 4 GPUs, and node 0 has 0; all nodes must have the same"),
    ],
)
def test_nodes_that_do_not_go_together_are_told_on_both(
    nodes: int,
    settings: dict[str, object],
    gpus: int,
    message: str,
    two: list[Cluster],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "gpus", list)
    run = RunDir(tmp_path)
    hello = {"rank": 1, "nodes": nodes, "settings": settings, "gpus": gpus}
    refusals = []

    def ask() -> None:
        with joining_node._join(two[1], run) as driver:
            driver.send(hello)
            refusals.append(driver.recv())

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(ValueError, match=message), joined_nodes.joined(two[0], run, SETTINGS):
        pytest.fail("it was taken")
    thread.join()
    assert refusals[0][0] == "refused" and refusals[0][1].startswith(message)


def test_one_that_does_not_come_is_named(two: list[Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined_nodes, "JOIN_WITHIN", 0.1)
    monkeypatch.setattr(joining_node, "JOIN_WITHIN", 0.1)
    expected = "node 1 has not joined .*: start the same command there, with NODES=2 NODE_RANK=1 MASTER_ADDR=127.0.0.1"
    with pytest.raises(ValueError, match=expected), joined_nodes.joined(two[0], RunDir(tmp_path), SETTINGS):
        pytest.fail("nobody joined")
    with pytest.raises(ValueError, match=r"no driver at 127\.0\.0\.1:"):
        joining_node.serve(two[1], RunDir(tmp_path), SETTINGS)


def test_a_node_of_another_run_is_told_and_does_not_wait_for_ever(
    two: list[Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining_node, "SEEN_WITHIN", 1.0)
    monkeypatch.setattr(joined_nodes, "JOIN_WITHIN", 5.0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    thread, said = join(two[1], RunDir(tmp_path / "b"), SETTINGS)
    with pytest.raises(ValueError, match="has not joined"), joined_nodes.joined(two[0], RunDir(tmp_path / "a"), {}):
        pytest.fail("it was taken")
    thread.join()
    assert said[0].startswith(f"the driver at 127.0.0.1:{two[0].port} is not one of {tmp_path / 'b'}: the command must")


def test_a_port_that_is_taken_is_said(two: list[Cluster], tmp_path: Path) -> None:
    assert two[0].port is not None
    with (
        node_connection.listen(two[0].port),
        pytest.raises(ValueError, match=f"port {two[0].port} on this machine cannot be used .*: set MASTER_PORT"),
        joined_nodes.joined(two[0], RunDir(tmp_path), SETTINGS),
    ):
        pytest.fail("the port was free")
