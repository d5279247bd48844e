"""A rank's response to a scheduler's signals: a checkpoint after the current step, or an immediate exit."""

import os
import signal
import threading
import time

from sciriff.run.run_dir import RunDir

REQUEST_WITHIN = 5.0
"""Seconds that a rank waits after SIGTERM for a request to write a checkpoint."""


def listen(run: RunDir) -> None:
    """Let SIGUSR1 ask all ranks for a checkpoint, as the driver does, and SIGTERM end this rank unless one is due.

    SIGTERM is ambiguous. When Slurm ends a job, every process gets it, and the driver requests a checkpoint. When one
    rank has failed, torchrun or srun sends it to the others, which could wait for hours. So without a request within
    REQUEST_WITHIN seconds this rank exits; in a thread, since the main thread may be in a call that blocks handlers.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer)
    threading.Thread(target=_act, args=(reader, run), daemon=True).start()


def _act(reader: int, run: RunDir) -> None:
    while True:
        number = os.read(reader, 1)[0]
        if number == signal.SIGUSR1:
            run.stop_request.touch()
        elif number == signal.SIGTERM and not _requested(run):
            os._exit(128 + number)


def _requested(run: RunDir) -> bool:
    give_up_at = time.monotonic() + REQUEST_WITHIN
    # Listing the folder makes an NFS client ask the server for a file that another node has just written.
    while run.stop_request.name not in os.listdir(run.root):  # noqa: PTH208
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.1)
    return True
