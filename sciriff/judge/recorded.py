"""Read responses of a judge that were saved by the original code, whose batches leave `<task>/lm_judge_raw.json`."""

from pathlib import Path
from typing import Any, TypedDict

from sciriff.models.api.openai import read_reply
from sciriff.run.typed_json import read_json
from sciriff.run.user_error import UserError

FILE = "lm_judge_raw.json"


class _RecordedResponse(TypedDict):
    body: Any


class _RecordedRow(TypedDict):
    """A line of the provider's batch interface; the other keys do not matter here."""

    response: _RecordedResponse


def recorded_file(folder: Path, task: str) -> Path | None:
    """Find FILE below a folder named after the task. UserError if there are several."""
    found = [path for path in sorted(folder.rglob(FILE)) if task in (folder.name, *path.relative_to(folder).parts)]
    if len(found) > 1:
        raise UserError(
            f"judge.path={folder}: {found[0]} and {found[1]} are both for {task}; name the folder of one model"
        )
    return found[0] if found else None


def recorded_responses(path: Path) -> list[str]:
    """Texts of the responses, in the order of the judged answers: ids are only numbers, and the original code pairs by
    position, too. UserError for another kind of file."""
    what, fix = "the responses of a judge", "name a folder that holds them with judge.path"
    rows = read_json(path, list[_RecordedRow], what, fix)
    try:
        return [read_reply(row["response"]["body"]).text for row in rows]
    except ValueError as error:
        raise UserError(f"{path}: not {what} ({error}); {fix}") from None
