"""Remember whether the tracker has a complete copy of a run."""

import json

from sciriff.config import Config
from sciriff.run.run_dir import RunDir


def is_copied(config: Config, run: RunDir) -> bool:
    """Whether the tracker of this config is known to have a complete copy of the run."""
    return run.copied.is_file() and run.copied.read_text() == _destination(config)


def note_copied(config: Config, run: RunDir) -> None:
    """Note that the copy is complete. The next copy removes `run.copied` before it does anything else."""
    run.copied.write_text(_destination(config))


def _destination(config: Config) -> str:
    log = config.log
    return json.dumps([log.tracker, log.mode, log.entity, log.project, *log.artifacts]) + "\n"
