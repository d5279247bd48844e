"""A node without Slurm that is not the first: it joins the driver there, runs what it is told, and ends with it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, wait
from typing import Any

from sciriff.run import machine
from sciriff.run.nodes import node_connection, on_node, shared_files
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.nodes.joined_nodes import JOIN_WITHIN
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

SEEN_WITHIN = 75.0
"""Seconds after which a node surely sees a key that the driver has written (shared_files.PATIENCE says why)."""


class DriverFailed(Exception):
    """The driver ended without saying that all is done."""


def serve(there: Cluster, run: RunDir, settings: dict[str, Any]) -> None:
    """Be a node of the run until the driver is done. UserError where it does not take this node, or is not there;
    DriverFailed."""
    os.environ[node_connection.KEY_FILE] = str(run.nodes_key)
    hello = {"rank": there.rank, "nodes": there.size, "settings": settings, "gpus": len(machine.gpus())}
    with _join(there, run) as driver:
        try:
            driver.send(hello)
            word, content = driver.recv()
            if word == "refused":
                raise UserError(content)
            print(f"node {there.rank}: joined {there.address}", file=sys.stderr, flush=True)
            while (message := driver.recv())[0] != "done":
                word, content = message
                if word == "start":
                    _run(driver, there.rank, **content)
        except (EOFError, OSError):
            raise DriverFailed(
                f"the driver on node 0 ({there.address}) has ended, and says there why; so node {there.rank} ends too"
            ) from None


def _join(there: Cluster, run: RunDir) -> Connection:
    """A connection to the driver. It writes a new key for each start, so that one of before may still be seen here."""
    assert there.port is not None
    where = f"{there.address}:{there.port}"
    print(f"node {there.rank}: joining {where}", file=sys.stderr, flush=True)
    give_up_at, refused_at = time.monotonic() + JOIN_WITHIN, None
    while True:
        try:
            # With any key, so that a driver of another run is told from none.
            key = run.nodes_key.read_bytes() if shared_files.is_here(run.nodes_key) else b"none"
            return node_connection.connect(there.address, there.port, key, patience=0)
        except AuthenticationError:
            refused_at = refused_at or time.monotonic()
            if time.monotonic() > refused_at + SEEN_WITHIN:
                raise UserError(
                    f"the driver at {where} is not one of {run.root}: the command must be the same on all nodes, and "
                    "this a folder that they share"
                ) from None
        except OSError as error:
            if time.monotonic() > give_up_at:
                raise UserError(
                    f"no driver at {where} within {JOIN_WITHIN:.0f} s ({error}): start the same command on node 0, "
                    f"with NODES={there.size} NODE_RANK=0"
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
            start_new_session=True,
        )
    except (UserError, OSError) as error:
        driver.send(("output", f"error: node {rank}: {error}\n"))
        driver.send(("ended", 2))
        return
    try:
        print(f"node {rank}: started {' '.join(command[:3])} ...", file=sys.stderr, flush=True)
        assert process.stdout is not None
        printed = Printed(process.stdout.fileno())
        while process.poll() is None:
            for ready in wait([driver, *printed.open], timeout=0.2):
                if ready is driver:
                    driver.recv()  # "stop", or the driver's end, which raises
                    _kill(process)
                elif lines := printed.lines():
                    driver.send(("output", lines))
        _kill(process)
        if lines := printed.lines(last=True):
            driver.send(("output", lines))
        driver.send(("ended", process.returncode))
    finally:
        _kill(process)
        process.wait()


def _kill(process: "subprocess.Popen[str]") -> None:
    """With what it started, as far as that has stayed in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Printed:
    """What a command prints, as far as it is there by now. Nobody waits for the end of its pipe: what the command has
    started, and left behind, may hold it open."""

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self.open = [pipe]
        self._rest = b""

    def lines(self, last: bool = False) -> str:
        """Whole lines; with `last` what comes after them too."""
        for pipe in tuple(self.open):
            with contextlib.suppress(BlockingIOError):
                piece = os.read(pipe, 1 << 20)  # all there is: Linux lets a pipe hold no more
                self._rest += piece
                if not piece:
                    self.open.remove(pipe)
        cut = len(self._rest) if last or not self.open else 1 + max(self._rest.rfind(end) for end in (b"\n", b"\r"))
        whole, self._rest = self._rest[:cut], self._rest[cut:]
        return whole.decode(errors="replace")
