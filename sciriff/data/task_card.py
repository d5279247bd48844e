"""The tasks of one's own in a folder of instances: its card.json says which metric scores each."""

from pathlib import Path
from typing import NotRequired, TypedDict

from sciriff.config.own_tasks import check_own_tasks
from sciriff.run.typed_json import parsed_json
from sciriff.run.user_error import UserError
from sciriff.tasks import NAMES

CARD = "card.json"
MOST_BYTES = 64_000_000
"""A card has some thousand bytes a task."""


class _Task(TypedDict):
    metric: NotRequired[str | None]


class _Card(TypedDict):
    tasks: NotRequired[dict[str, _Task]]


def own_tasks(folder: Path) -> dict[str, str]:
    """Task -> metric of those in the card of a folder that have one, without SciRIFF's nine; empty without a card.

    UserError names the file and the key that is wrong.
    """
    path = folder / CARD
    if not path.is_file():
        return {}
    if (size := path.stat().st_size) > MOST_BYTES:
        raise UserError(f"{path}: {size:,} bytes are no card of instances (at most {MOST_BYTES:,}); make it again")
    card = parsed_json(path.read_bytes(), _Card, path, "the card of a folder of instances", "correct it")
    found = {
        name: metric
        for name, entry in card.get("tasks", {}).items()
        if (metric := entry.get("metric")) is not None and name not in NAMES
    }
    check_own_tasks(f"{path}: tasks", found)
    return found
