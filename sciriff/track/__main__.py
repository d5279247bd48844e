"""Copy a run to its tracker.

python -m sciriff.track RUN_DIR             copy a finished run once
python -m sciriff.track RUN_DIR --follow    copy a run while it grows, until standard input closes
"""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

from sciriff.config import Config
from sciriff.config.trust import TRUST
from sciriff.run.arguments import ArgumentParser
from sciriff.run.locks import hold_as_worker
from sciriff.run.manifest import Manifest
from sciriff.run.messages import say_error
from sciriff.run.parent_death import die_with_parent
from sciriff.run.run_dir import RunDir
from sciriff.stage import command, taken
from sciriff.track.copied import note_copied
from sciriff.track.copying import closed, copy_run
from sciriff.track.mlflow_sink import mlflow_sink
from sciriff.track.sink import Sink, TrackerUnreachable
from sciriff.track.tensorboard_sink import tensorboard_sink
from sciriff.track.trackio_sink import trackio_sink
from sciriff.track.wandb_sink import wandb_sink

RETRY_EVERY = 60.0
"""Seconds between two attempts to reach a server that is down, with --follow."""

SINKS: dict[str, Callable[[Config, RunDir, bool], contextlib.AbstractContextManager[Sink]]] = {
    "wandb": wandb_sink,
    "tensorboard": tensorboard_sink,
    "trackio": trackio_sink,
    "mlflow": mlflow_sink,
}


def copy(config: Config, run: RunDir, follow: bool) -> None:
    """Copy the run to its tracker. With `follow`, retry while the server is down; each error is printed once."""
    run.copied.unlink(missing_ok=True)
    last_error = ""
    while True:
        try:
            with SINKS[config.log.tracker](config, run, follow) as sink:
                copy_run(run, sink, follow, config.log.artifacts)
            if Manifest.read(run.manifest).is_over:
                note_copied(config, run)
            return
        except TrackerUnreachable as error:
            if not follow or closed(RETRY_EVERY):
                raise
            if str(error) != last_error:
                last_error = str(error)
                say_error(f"{last_error}; trying again every {RETRY_EVERY:.0f} s")


@command
def main() -> int:
    """Exit status 0 if everything was copied; otherwise the reason is one line on standard error."""
    parser = ArgumentParser(prog="python -m sciriff.track", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("typed", nargs="*", metavar="KEY=VALUE", help="a key that sends data, as log.mode=online")
    parser.add_argument(TRUST, action="store_true", help="take such keys from the folder, which is your own")
    parser.add_argument("--follow", action="store_true", help="keep copying until standard input closes")
    arguments = parser.parse_args()
    die_with_parent()
    run = RunDir(arguments.run_dir.resolve())
    config = taken(run, [*arguments.typed, *[TRUST][: arguments.trust]])
    if config.log.tracker != "none":
        with hold_as_worker(run):
            copy(config, run, arguments.follow)
    return 0


if __name__ == "__main__":
    sys.exit(main())
