"""Sink: the interface of a tracker that has been opened for a run."""

from pathlib import Path
from typing import Any, Protocol

from sciriff.run.user_error import UserError
from sciriff.track.logged_tables import TrackedTable


class TrackerUnreachable(UserError):
    """The tracker's server is down or refuses the connection."""


class Sink(Protocol):
    """A tracker opened for one run."""

    logged: int
    """Last step that the tracker already has; -1 for none."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """Log the metrics of one optimizer step, including its validation."""

    def scores(self, values: dict[str, Any]) -> None:
        """Set the run's scores, replacing earlier ones."""

    def file(self, path: Path) -> None:
        """Copy a file of the run folder in its current state."""

    def table(self, table: TrackedTable) -> None:
        """Log a table at the end of the run."""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
