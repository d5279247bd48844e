"""Run a command on a node under Slurm: wait for the run folder's files, start it, end it with its driver.

`srun ... python -m sciriff.run.nodes.on_node COMMAND`; the word RANK in COMMAND becomes the node's number, which the
command also gets as NODE_RANK.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys

from sciriff.run.messages import say_error
from sciriff.run.nodes import lifeline, shared_files
from sciriff.run.nodes.cluster import RANK
from sciriff.run.parent_death import die_with_parent
from sciriff.run.user_error import UserError

DRIVER, FILES = "SCIRIFF_DRIVER", "SCIRIFF_FILES"
"""Variables: address:port:key of the driver's lifeline, and as JSON the files to wait for with their digests."""


def main() -> int:
    """Return the command's exit status, or 2 after an error that a person can fix."""
    # Schedulers send these to all processes of a job. Training stops by itself, with a checkpoint; the rest ends with
    # the driver.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    rank = os.environ.get("SLURM_NODEID", "0")
    try:
        shared_files.wait_for(json.loads(os.environ.get(FILES, "{}")))
        words = [rank if word == RANK else word for word in sys.argv[1:]]
        process = subprocess.Popen(words, env={**os.environ, RANK: rank}, preexec_fn=die_with_parent)
        line = None
        if driver := os.environ.get(DRIVER):
            address, port, key = driver.rsplit(":", 2)
            line = lifeline.watch(address, int(port), key, int(rank), gone=process.kill)
    except (UserError, OSError) as error:
        say_error(error)
        return 2
    status = process.wait()
    if line is not None:
        with contextlib.suppress(OSError):  # the driver may have ended
            line.sendall(lifeline.GOODBYE)
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(main())
