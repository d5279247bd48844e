"""What a training process does with the signals of a scheduler: finish its step for a checkpoint, or die at once."""

import os
import signal
import threading
import time

from sciriff.run.run_dir import RunDir

REQUEST_WITHIN = 5.0
"""Seconds after SIGTERM in which somebody must have asked for a checkpoint."""


def listen(run: RunDir) -> None:
    """SIGUSR1 asks all processes for a checkpoint, as the driver does.

    SIGTERM is ambiguous. When Slurm ends a job it sends it to every process, the driver too, which then asks for a
    checkpoint. When one process has failed, torchrun or srun sends it to the others, which may wait for the failed one
    for hours. So without a request soon after it this process ends. A thread does that, since the main one may be
    somewhere that no handler is run.
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
    # To list the folder makes an NFS client ask the server for a file that another node has just written.
    while run.stop_request.name not in os.listdir(run.root):  # noqa: PTH208
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.1)
    return True
