"""TensorBoard sink: writes event files without torch or TensorFlow."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.config import Config, to_yaml
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.track.artifacts import TrackedArtifact
from sciriff.track.logged_tables import TrackedTable
from sciriff.track.sink import installed, is_number


@dataclass
class TensorboardSink:
    writer: Any
    logged: int = -1

    def step(self, step: int, values: dict[str, Any]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=k, simple_value=v) for k, v in values.items() if is_number(v)]
        self._write(step, Summary(value=scalars))

    def _write(self, step: int, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def scores(self, values: dict[str, Any]) -> None:
        self.step(max(self.logged, 0), {k if "/" in k else f"summary/{k}": v for k, v in values.items()})

    def text(self, tag: str, text: str) -> None:
        """Add a Markdown text, shown in the tab Text."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(0, text_pb(tag, text))

    def file(self, path: Path) -> None:
        """Do nothing: TensorBoard stores no files; the run folder has them."""

    def table(self, table: TrackedTable) -> None:
        """Do nothing: TensorBoard stores no tables."""

    def artifact(self, artifact: TrackedArtifact) -> None:
        raise AssertionError("refused by the config")


@contextlib.contextmanager
def tensorboard_sink(config: Config, run: RunDir, follow: bool) -> Iterator[TensorboardSink]:
    """Write event files to RUN/tensorboard in place of older ones (steps repeat). UserError without tensorboard."""
    with installed("tensorboard"):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    folder = run.root / "tensorboard"
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    sink = TensorboardSink(EventFileWriter(str(folder), flush_secs=10))
    sink.text("config", "```yaml\n" + to_yaml(config) + "```")
    show(f"tensorboard --logdir {folder}")
    try:
        yield sink
    finally:
        sink.writer.close()
