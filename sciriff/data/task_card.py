"""The card of a folder of rows: which metric scores a task of one's own, and which documents are shared."""

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


SharedDocuments = TypedDict("SharedDocuments", {"records": int, "shared": int, "with": dict[str, int]})
"""Evaluation records of one task and split: all, those that share a document with training records, and how many with
each task's training records."""


class _Card(TypedDict):
    tasks: NotRequired[dict[str, _Task]]
    shared_documents: NotRequired[dict[str, SharedDocuments]]


def own_tasks(folder: Path) -> dict[str, str]:
    """Task -> metric of those in the card of a folder that have one, without SciRIFF's nine; empty without a card.

    UserError names the file and the key that is wrong.
    """
    found = {
        name: metric
        for name, entry in _card(folder).get("tasks", {}).items()
        if (metric := entry.get("metric")) is not None and name not in NAMES
    }
    check_own_tasks(f"{folder / CARD}: tasks", found)
    return found


def shared_documents(folder: Path) -> dict[str, SharedDocuments]:
    """ "TASK SPLIT" -> how many evaluation records share a document with training rows of the folder; empty without a
    card. UserError as `own_tasks`."""
    return _card(folder).get("shared_documents", {})


def _card(folder: Path) -> _Card:
    path = folder / CARD
    if not path.is_file():
        return {}
    if (size := path.stat().st_size) > MOST_BYTES:
        raise UserError(f"{path}: {size:,} bytes are no card of instances (at most {MOST_BYTES:,}); make it again")
    return parsed_json(path.read_bytes(), _Card, path, "the card of a folder of instances", "correct it")
