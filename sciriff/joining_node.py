"""A node without Slurm that is not the first: it joins the driver there, runs what it is told, and ends with it."""

import os
import subprocess
import sys
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection
from typing import Any

from sciriff import machine, node_connection, on_node
from sciriff.cluster import Cluster
from sciriff.joined_nodes import JOIN_WITHIN
from sciriff.run_dir import RunDir


class DriverFailed(Exception):
    """The driver ended without saying that all is done."""


def serve(there: Cluster, run: RunDir, settings: dict[str, Any]) -> None:
    """Be a node of the run until the driver is done. ValueError where it does not take this node, or is not there;
    DriverFailed."""
    os.environ[node_connection.KEY_FILE] = str(run.nodes_key)
    with _join(there, run) as driver:
        driver.send({"rank": there.rank, "nodes": there.size, "settings": settings, "gpus": len(machine.gpus())})
        try:
            word, content = driver.recv()
            if word == "refused":
                raise ValueError(content)
            print(f"node {there.rank}: joined {there.address}", file=sys.stderr, flush=True)
            while (message := driver.recv())[0] != "done":
                word, content = message
                if word == "start":
                    _run(driver, there.rank, **content)
        except (EOFError, ConnectionError, TimeoutError):
            raise DriverFailed(
                f"the driver on node 0 ({there.address}) has ended, and says there why; so node {there.rank} ends too"
            ) from None


def _join(there: Cluster, run: RunDir) -> Connection:
    """A connection to the driver. It writes a new key for each start, so that one of before may still be seen here."""
    assert there.port is not None
    print(f"node {there.rank}: joining {there.address}:{there.port}", file=sys.stderr, flush=True)
    give_up_at = time.monotonic() + JOIN_WITHIN
    while True:
        try:
            os.listdir(run.root)  # noqa: PTH208 - makes an NFS client look again
            key = run.nodes_key.read_bytes()
            return node_connection.connect(there.address, there.port, key, patience=0)
        except (OSError, AuthenticationError) as error:
            if time.monotonic() > give_up_at:
                raise ValueError(
                    f"no driver of {run.root} at {there.address}:{there.port} within {JOIN_WITHIN:.0f} s ({error}): "
                    f"start the same command on node 0, with NODES={there.size} NODE_RANK=0; {run.root} must be a "
                    "folder that all nodes share"
                ) from None
            time.sleep(0.5)


def _run(
    driver: Connection, rank: int, command: list[str], files: dict[str, str | None], variables: dict[str, str]
) -> None:
    """Run a command as this node's part, send what it prints, and at the end its status."""
    try:
        process = on_node.start(
            command,
            rank,
            files,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
        )
    except (ValueError, OSError) as error:
        driver.send(("output", f"error: node {rank}: {error}\n"))
        driver.send(("ended", 2))
        return
    try:
        print(f"node {rank}: started {' '.join(command[:3])} ...", file=sys.stderr, flush=True)
        reader = threading.Thread(target=_send_output, args=(driver, process), daemon=True)
        reader.start()
        while process.poll() is None:
            if driver.poll(0.2):
                driver.recv()  # "stop", or the driver's end, which raises
                process.kill()
        reader.join()
        driver.send(("ended", process.returncode))
    finally:
        process.kill()
        process.wait()


def _send_output(driver: Connection, process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        try:
            driver.send(("output", line))
        except OSError:  # the other thread sees it too
            return
