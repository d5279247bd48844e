"""What a tracker takes of a run, whichever it is."""

from pathlib import Path
from typing import Any, Protocol

from sciriff.run.user_error import UserError
from sciriff.track.logged_tables import TrackedTable


class TrackerUnreachable(UserError):
    """The tracker's server is down, or refuses us."""


class Sink(Protocol):
    """A tracker that has been opened for one run."""

    logged: int
    """Rows up to this step are there already; -1 when none are."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """What metrics.jsonl has of one optimizer step, its validation included."""

    def scores(self, values: dict[str, Any]) -> None:
        """The scores of the run, replacing earlier ones."""

    def file(self, path: Path) -> None:
        """A file of the run folder as it is now."""

    def table(self, table: TrackedTable) -> None:
        """A table of the run, once it is over."""


def tag(name: str) -> str:
    """The name of a value of metrics.jsonl at a tracker: `train/loss`, `validation/science_loss`."""
    group, _, rest = name.partition("_")
    return f"validation/{rest}" if group == "validation" else f"train/{name}"


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
