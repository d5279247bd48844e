"""Which runs their tracker has all of."""

import json

from sciriff.config import Config
from sciriff.run.run_dir import RunDir


def is_copied(config: Config, run: RunDir) -> bool:
    """Whether the tracker of this config has all of the run, as far as it is known."""
    return run.copied.is_file() and run.copied.read_text() == _place(config)


def note_copied(config: Config, run: RunDir) -> None:
    """Holds until `run.copied` is removed, which is the first that a tracker does."""
    run.copied.write_text(_place(config))


def _place(config: Config) -> str:
    log = config.log
    return json.dumps([log.tracker, log.mode, log.entity, log.project]) + "\n"
