"""Sink: the interface of a tracker that has been opened for a run."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from sciriff.config import Config, as_dict
from sciriff.run.user_error import UserError
from sciriff.track.artifacts import TrackedArtifact
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

    def artifact(self, artifact: TrackedArtifact) -> None:
        """Copy an artifact of the finished run, with what it was made of."""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextlib.contextmanager
def installed(name: str) -> Iterator[None]:
    """Import a tracker's package within this. UserError says what installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f"log={name}: {error}; `pip install 'sciriff[{name}]'`, or log=none") from None


def first_line(error: Exception) -> str:
    """The first line of a message, without the login that an address may have."""
    return re.sub("//[^/@ ]*@", "//", (str(error).strip() or repr(error)).splitlines()[0])


def parameters(config: Config) -> Iterator[list[tuple[str, str]]]:
    """(key, value) of the config, as many at once and as long as MLflow takes."""
    pairs = [(key, str(value)[:5000]) for key, value in _flat(as_dict(config))]
    yield from (pairs[at : at + 100] for at in range(0, len(pairs), 100))


def _flat(values: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of a config at any depth: `train.epochs`."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{section}{key}.")
        else:
            yield f"{section}{key}", value
