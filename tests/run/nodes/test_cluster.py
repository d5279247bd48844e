"""Where a driver finds its nodes, what it waits for on them, and how they learn that it is gone."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sciriff.driver import plan, preflight
from sciriff.run import slurm_command
from sciriff.run.nodes import cluster, lifeline, shared_files
from sciriff.run.nodes.cluster import Cluster, replicas_per_node, training_processes
from sciriff.run.nodes.everywhere import everywhere
from sciriff.run.run_dir import RunDir

TWO = {"NODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}
TIMEOUT = 20.0


def test_without_any_of_these_variables_there_is_this_machine_alone() -> None:
    for environment in ({}, {"NODES": "1"}, {"NODES": "1", "NODE_RANK": "0", "MASTER_ADDR": "10.0.0.1"}):
        assert cluster.here(environment) == Cluster()
    assert cluster.here({"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1"}) == Cluster()


def test_a_controller_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("srun", "scontrol"):
        (tmp_path / name).write_text("#!/bin/sh\nexec sleep 60\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(slurm_command, "PATIENCE", 0.2)
    silent = r"Slurm does not answer: scontrol show hostnames 'n\[1-2\]' has not ended within 0\.2 s; try again later"
    with pytest.raises(ValueError, match=silent):
        cluster.here({"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "n[1-2]"})


def test_nodes_by_hand() -> None:
    found = cluster.here(TWO)
    assert (found.size, found.rank, found.address, found.port) == (2, 1, "10.0.0.1", None)
    assert cluster.here({**TWO, "MASTER_PORT": "4000"}).port == 4000
    # Inside a Slurm job too, where somebody starts one command on each node by himself.
    assert cluster.here({**TWO, "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}).slurm is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"NODE_RANK": "2"}, "NODE_RANK=2 with NODES=2"),
        ({"NODES": "two"}, "NODES=two must be a whole number"),
        ({"MASTER_ADDR": ""}, "NODES=2 needs MASTER_ADDR"),
        ({"MASTER_PORT": "-1"}, "MASTER_PORT=-1 must be"),
    ],
)
def test_variables_that_do_not_go_together(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster.here({**TWO, **change})


def test_a_rank_is_needed_where_there_are_several_nodes() -> None:
    with pytest.raises(ValueError, match="NODE_RANK is not set"):
        cluster.here({"NODES": "2", "MASTER_ADDR": "10.0.0.1"})


def test_one_of_several_tasks_of_srun_is_no_driver() -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_STEP_ID": "0"}
    with pytest.raises(ValueError, match="srun has started this command 2 times"):
        cluster.here({**job, "SLURM_STEP_NUM_TASKS": "2"})
    assert cluster.here({**job, "SLURM_STEP_NUM_TASKS": "1"}) == Cluster()


def test_training_processes_are_those_of_all_nodes() -> None:
    assert training_processes("auto", gpus=4, nodes=1) == 4
    assert training_processes("auto", gpus=0, nodes=1) == 1
    assert training_processes("auto", gpus=8, nodes=4) == 32
    assert training_processes("auto", gpus=0, nodes=2) == 2
    assert training_processes(2, gpus=0, nodes=1) == 2
    assert training_processes(4, gpus=2, nodes=2) == 4
    with pytest.raises(ValueError, match="num_processes=2, but this machine has 1 GPU;"):
        training_processes(2, gpus=1, nodes=1)
    with pytest.raises(ValueError, match="num_processes=3 cannot be spread evenly over 2 nodes"):
        training_processes(3, gpus=8, nodes=2)
    with pytest.raises(ValueError, match="num_processes=16, but there are 2 nodes, each with 4 GPUs"):
        training_processes(16, gpus=4, nodes=2)


def test_replicas_are_those_of_all_nodes() -> None:
    assert replicas_per_node("auto", 1, gpus=4, nodes=1) == [4]
    assert replicas_per_node("auto", 2, gpus=8, nodes=4) == [4, 4, 4, 4]
    assert replicas_per_node("auto", 1, gpus=0, nodes=2) == [1, 1]
    assert replicas_per_node(1, 1, gpus=0, nodes=2) == [1, 0]
    assert replicas_per_node(5, 1, gpus=4, nodes=2) == [3, 2]
    with pytest.raises(ValueError, match=r"needs 5 GPUs, and there are 4"):
        replicas_per_node(5, 1, gpus=4, nodes=1)
    with pytest.raises(ValueError, match=r"needs 8 GPUs on a node, and there are 4"):
        replicas_per_node("auto", 8, gpus=4, nodes=2)


def test_one_task_on_each_node_with_all_that_the_node_has() -> None:
    four = Cluster(("a", "b", "c", "d"), address="a", slurm=True, cores=96, gpus=8)
    words = four.srun(["python", "x"])
    assert words[0] == "srun" and words[-2:] == ["python", "x"]
    assert {"--nodes=4", "--ntasks=4", "--cpus-per-task=96", "--gpus-per-node=8", "--kill-on-bad-exit=1"} <= set(words)
    assert not [word for word in Cluster(("a", "b"), slurm=True).srun([]) if "gpus" in word]


def test_on_one_machine_a_command_stays_as_it_is(tmp_path: Path) -> None:
    with everywhere(Cluster(), "train", RunDir(tmp_path), ["python", "x"], {}) as start:
        assert (start.command, start.variables, start.lost(), start.stop) == (["python", "x"], {}, None, None)


def test_a_file_of_another_node_is_waited_for_until_it_is_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("new")
    written = shared_files.as_written([file, tmp_path / "not there"])
    assert list(written) == [str(file)]
    file.write_text("old")
    later = threading.Timer(0.5, file.write_text, ["new"])
    later.start()
    shared_files.wait_for(written, patience=TIMEOUT)
    assert file.read_text() == "new"
    file.write_text("other")
    with pytest.raises(ValueError, match=f"{file} was written on another node and is not seen on"):
        shared_files.wait_for(written, patience=0.1)
    with pytest.raises(ValueError, match="run_dir and cache_dir must be on a file system that all nodes share"):
        shared_files.wait_for([tmp_path / "folder" / "b"], patience=0.1)


HOLDER = (
    "from sciriff.run.nodes import lifeline\n"
    "with lifeline.hold() as line: print(line.port, line.key, flush=True); input()"
)


@pytest.mark.parametrize("number", [signal.SIGKILL, None])
def test_a_killed_driver_is_noticed_on_the_other_node(number: signal.Signals | None) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdin is not None and holder.stdout is not None
    port, key = holder.stdout.readline().split()
    gone = threading.Event()
    lifeline.watch("127.0.0.1", int(port), key, 1, gone.set)
    assert not gone.wait(0.3)
    if number is None:
        holder.stdin.write("\n")
        holder.stdin.close()
    else:
        holder.send_signal(number)
    assert gone.wait(TIMEOUT)
    holder.wait()
    with pytest.raises(OSError):
        lifeline.watch("127.0.0.1", int(port), key, 1, gone.set)


@pytest.mark.parametrize(("says_goodbye", "lost"), [(False, 1), (True, None)])
def test_a_node_that_is_gone_without_a_goodbye_is_lost_and_ends_the_others(
    says_goodbye: bool, lost: int | None
) -> None:
    gone, own = threading.Event(), threading.Event()
    with lifeline.hold() as line:
        with socket.create_connection(("127.0.0.1", line.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\n")
        lifeline.watch("127.0.0.1", line.port, line.key, 0, gone.set)
        other = lifeline.watch("127.0.0.1", line.port, line.key, 1, own.set)
        assert not gone.wait(0.3) and line.lost is None
        if says_goodbye:
            other.sendall(lifeline.GOODBYE)
        other.shutdown(socket.SHUT_RDWR)
        assert gone.wait(0.5 if says_goodbye else TIMEOUT) != says_goodbye
        assert line.lost == lost
    assert gone.wait(TIMEOUT) and own.wait(TIMEOUT)


def test_a_node_runs_its_command_with_its_rank_and_ends_it_with_its_driver(tmp_path: Path) -> None:
    code = (
        "import sys, time, os; print(sys.argv[1], os.environ['NODE_RANK'], os.getpid(), flush=True); time.sleep(1000)"
    )
    with lifeline.hold() as line:
        process = subprocess.Popen(
            [sys.executable, "-m", "sciriff.run.nodes.on_node", sys.executable, "-c", code, cluster.RANK],
            env={**os.environ, "SLURM_NODEID": "3", "SCIRIFF_DRIVER": f"{socket.gethostname()}:{line.port}:{line.key}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        rank, variable, pid = process.stdout.readline().split()
        assert rank == variable == "3"
        for number in (signal.SIGUSR1, signal.SIGTERM):  # for the driver, which ends what is here
            process.send_signal(number)
        time.sleep(0.3)
        assert process.poll() is None
    assert process.wait(TIMEOUT) == 128 + signal.SIGKILL
    assert not Path(f"/proc/{pid}").exists()


def test_a_port_that_somebody_else_has_is_said_before_anything_starts(
    composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training's processes would meet there."""
    config = composed("experiment=demo", "name=x")
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        said = f"MASTER_PORT={port} cannot be opened here (Address already in use): name another, or leave it out"
        for slurm, rank, ours, problems in (
            (True, 0, port, [said]),
            (False, 0, port, [said]),
            (False, 1, port, []),  # it is to be free on the first node
            (True, 0, None, []),
        ):
            two = cluster.Cluster(("a", "b"), rank, "a", port=ours, slurm=slurm)
            monkeypatch.setattr(cluster, "here", lambda two=two: two)
            found = preflight.problems(config, plan.make(config))
            assert [line for line in found if "PORT" in line] == problems
    monkeypatch.setattr(cluster, "here", lambda: cluster.Cluster(("a", "b"), address="a", port=port, slurm=True))
    assert not any("PORT" in line for line in preflight.problems(config, plan.make(config)))
