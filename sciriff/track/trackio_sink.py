"""Trackio sink: a local database in the run folder, which `trackio show` draws and `trackio sync` sends to a Space."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.config import Config, as_dict
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.track.artifacts import TrackedArtifact
from sciriff.track.logged_tables import TrackedTable
from sciriff.track.sink import installed, is_number


@dataclass
class TrackioSink:
    run: Any
    logged: int = -1

    def step(self, step: int, values: dict[str, Any]) -> None:
        self.run.log({key: value for key, value in values.items() if is_number(value)}, step=step)

    def scores(self, values: dict[str, Any]) -> None:
        self.step(max(self.logged, 0), {k if "/" in k else f"summary/{k}": v for k, v in values.items()})

    def file(self, path: Path) -> None:
        """Do nothing: the run folder, where the database lies, has the files."""

    def table(self, table: TrackedTable) -> None:
        """Do nothing: the run folder has the tables."""

    def artifact(self, artifact: TrackedArtifact) -> None:
        raise AssertionError("refused by the config")


@contextlib.contextmanager
def trackio_sink(config: Config, run: RunDir, follow: bool) -> Iterator[TrackioSink]:
    """Write RUN/trackio in place of an older one (steps repeat). UserError without trackio, and if a step is missing
    at the end, since trackio itself only warns."""
    folder = run.root / "trackio"
    shutil.rmtree(folder, ignore_errors=True)
    for name in [name for name in os.environ if name.startswith("TRACKIO_")]:
        del os.environ[name]  # a Space, a server or a webhook would get the run
    # it asks the hub for the name of the user otherwise, with the user's token
    os.environ |= {"TRACKIO_DIR": str(folder), "HF_HUB_OFFLINE": "1"}
    with installed("trackio"):
        import trackio
        from trackio.sqlite_storage import SQLiteStorage
    project, name = config.log.project, config.name or "run"
    handle = trackio.init(
        project,
        name,
        group=config.log.group,
        config=as_dict(config),
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    show(f"TRACKIO_DIR={folder} trackio show --project {project}")
    sink = TrackioSink(handle)
    try:
        yield sink
    finally:
        handle.finish()
    written = SQLiteStorage.get_max_step_for_run(project, name)
    if sink.logged >= 0 and written != sink.logged:
        raise UserError(f"Trackio: {folder} ends at step {written} of {sink.logged}; is the disk full?")
