"""Save finished answers, so that no prompt is answered twice and a resumed stage ends in the same bytes.

While the stage runs, rows are appended to predictions/<task>.jsonl. At the end each file is rewritten once, in the
order of the instances. A row stays valid while three things are unchanged: the settings in settings.json (model,
engine, ...), which apply to all rows; the digest of its prompt; and the limit of its answer as far as it mattered.
Further tasks, a larger eval.limit, more eval.samples or other prompts of one task therefore keep all other rows. Rows
that are no longer requested are kept in predictions/not_asked/.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, TypedDict

from sciriff.config.own_tasks import NAME
from sciriff.data.records import AnswerKey, Prediction
from sciriff.data.saved_answers import SAMPLES_KEY, read_expected
from sciriff.predict.thought_rows import same_under
from sciriff.run.digest import value_digest
from sciriff.run.json_lines import dumps, record_of, to_json, write_jsonl
from sciriff.run.messages import show
from sciriff.run.run_dir import RunDir
from sciriff.run.typed_json import typed
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import append_lines, write_whole
from sciriff.tasks import NAMES

WrittenKey = str | tuple[str, int]
"""A key of an answer: the instance's id, of a sample with its number."""

_NotSettings = TypedDict(
    "_NotSettings", {"asked": str, "kept": dict[str, list[WrittenKey]], "made with": list[dict[str, Any]]}
)
"""Other keys of settings.json; see `begin` and `note_versions`."""
NOT_SETTINGS = tuple(_NotSettings.__annotations__)


@dataclass(frozen=True)
class RequestedAnswer:
    """One answer that the current config requests."""

    task: str
    prompt_digest: str
    limit: int
    """Most new tokens of the answer."""
    reference: str
    sample: int | None = None
    thinking: int = 0
    """Most tokens of the thought besides; with 0 both have that limit together."""

    def answered_by(self, row: Prediction) -> bool:
        """Whether the row still holds: same prompt, and the limits would not change thought and answer."""
        if row.prompt_digest != self.prompt_digest or not isinstance(row.output_tokens, int):
            return False
        return same_under(self.limit, self.thinking, row.finish_reason, row.output_tokens, row.thought_tokens)


@dataclass(frozen=True)
class Saved:
    """Valid answers of earlier starts."""

    rows: dict[AnswerKey, Prediction]
    kept: frozenset[AnswerKey]
    """Keys of rows made when other answers were requested: finished, and excluded from batches."""


def begin(run: RunDir, asked: Mapping[AnswerKey, RequestedAnswer], settings: dict[str, Any]) -> Saved:
    """Load the rows that are still valid for `asked` (in order), and write expected.json and settings.json.

    In settings.json `asked` is the digest of all requested answers; when it changes, `kept` (task -> instance ids, or
    pairs of id and sample) is recomputed. UserError if the folder has rows that this stage did not write.
    """
    run.predictions.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps(settings))
    before = _read_settings(run.answered_with)
    tasks = list(dict.fromkeys([*NAMES, *(answer.task for answer in asked.values()), *_asked_before(run)]))
    files = [path for task in tasks if (path := _file(run, task)).exists()]
    if before is None and files:
        raise UserError(
            f"{files[0]} was not written by this stage, which would overwrite it: move it away, or score it "
            f"in another run with predictions={run.predictions}"
        )
    if before is not None and (changed := _changed(before, settings)):
        names = " and ".join(changed)
        show(f"the answers in {run.predictions} were made with another {names}: starting afresh")
        for path in [*files, *run.not_asked.glob("*.jsonl")]:
            path.unlink()
        # what general tasks scored with it would stand beside the new answers where their stage is not run
        run.general_settings.unlink(missing_ok=True)
        before = None
    rows = _take_over(run, asked, tasks)
    digest = value_digest(
        [
            [_written(key, answer), answer.prompt_digest, answer.limit, *([answer.thinking] if answer.thinking else [])]
            for key, answer in asked.items()
        ]
    )
    before = before or {"asked": digest, "kept": {}, "made with": []}
    kept = set(rows)
    if before["asked"] == digest:
        kept &= {_key(written) for keys in before["kept"].values() for written in keys}
    state = {"asked": digest, "kept": _by_task(kept, asked), "made with": before["made with"]}
    _write_json(run.answered_with, {**settings, **state})
    _write_json(run.expected, _expected(asked))
    return Saved(rows, frozenset(kept))


def note_versions(run: RunDir, made_with: dict[str, Any]) -> None:
    """Add versions and devices of the following answers to settings.json. A change is printed; answers are kept."""
    settings = _read_settings(run.answered_with)
    assert settings is not None, "begin has written it"
    if made_with not in settings["made with"]:
        if settings["made with"]:
            show(f"other versions or devices than before answer the rest; see {run.answered_with}")
        _write_json(run.answered_with, {**settings, "made with": [*settings["made with"], made_with]})


def keep_only(run: RunDir, asked: Mapping[AnswerKey, RequestedAnswer], rows: Mapping[AnswerKey, Prediction]) -> None:
    """Rewrite the files with exactly these rows, in the order of `asked`."""
    for task in dict.fromkeys([*NAMES, *(answer.task for answer in asked.values())]):
        kept = [rows[key] for key, answer in asked.items() if answer.task == task and key in rows]
        _write_rows(_file(run, task), kept)


def append(run: RunDir, rows: Iterable[Prediction]) -> None:
    """Append finished rows to their tasks' files, and return once they are on disk. OSError names the file."""
    for task, added in groupby(sorted(rows, key=attrgetter("task")), key=attrgetter("task")):
        append_lines(_file(run, task), [to_json(row) + "\n" for row in added])


def _asked_before(run: RunDir) -> list[str]:
    """Tasks that an earlier start asked for: tasks of one's own may have gone since."""
    try:
        return [name for name in read_expected(run.expected)[0] if NAME.fullmatch(name)]
    except UserError:  # damaged; it is about to be written again
        return []


def _take_over(
    run: RunDir, asked: Mapping[AnswerKey, RequestedAnswer], tasks: Sequence[str]
) -> dict[AnswerKey, Prediction]:
    """Load the rows of `tasks` that answer `asked`. Others move to not_asked/ (written there first); outdated ones are
    dropped."""
    rows: dict[AnswerKey, Prediction] = {}
    outdated = 0
    still_asked = {answer.task for answer in asked.values()}
    for task in tasks:
        aside = run.not_asked / f"{task}.jsonl"
        found = {**_read(aside, task), **_read(_file(run, task), task)}
        for key in [key for key in found if key in asked]:
            row, answer = found.pop(key), asked[key]
            if answer.answered_by(row):
                rows[key] = replace(row, reference=answer.reference, sample=answer.sample)
            else:
                outdated += row.finish_reason != "skipped"
        _write_rows(aside, [row for row in found.values() if row.finish_reason != "skipped"])
        if task not in still_asked and task not in NAMES:
            _file(run, task).unlink(missing_ok=True)  # it is no task any more, and `keep_only` does not know it
    if outdated:
        show(f"{outdated} answers are to another prompt or had another limit and are made again")
    if run.not_asked.is_dir() and not any(run.not_asked.iterdir()):
        run.not_asked.rmdir()
    return rows


def _file(run: RunDir, task: str) -> Path:
    return run.predictions / f"{task}.jsonl"


def _write_rows(path: Path, rows: Sequence[Prediction]) -> None:
    """Write a file of rows; without any it is removed."""
    if rows:
        write_jsonl(path, rows)
    else:
        path.unlink(missing_ok=True)


def _written(key: AnswerKey, answer: RequestedAnswer) -> str | list[Any]:
    """A key as written in settings.json: the instance id, or with samples [instance id, sample]."""
    return key[0] if answer.sample is None else list(key)


def _key(written: str | list[Any]) -> AnswerKey:
    return (written, 1) if isinstance(written, str) else (written[0], written[1])


def _by_task(keys: Set[AnswerKey], asked: Mapping[AnswerKey, RequestedAnswer]) -> dict[str, list[str | list[Any]]]:
    """Task -> its answers among `keys`, in the order of `asked`."""
    tasks: dict[str, list[str | list[Any]]] = {}
    for key, answer in asked.items():
        if key in keys:
            tasks.setdefault(answer.task, []).append(_written(key, answer))
    return tasks


def _expected(asked: Mapping[AnswerKey, RequestedAnswer]) -> dict[str, Any]:
    """Task -> its instance ids; with several samples per instance also SAMPLES_KEY -> their number."""
    tasks: dict[str, list[str]] = {}
    for (instance_id, sample), answer in asked.items():
        if sample == 1:
            tasks.setdefault(answer.task, []).append(instance_id)
    samples = max((sample for _, sample in asked), default=1)
    return {**tasks, SAMPLES_KEY: samples} if samples > 1 else dict(tasks)


def _changed(before: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Names of the settings that differ."""
    names = {name for name in {**before, **settings} if name not in NOT_SETTINGS}
    return sorted(name for name in names if before.get(name) != settings.get(name))


def _read(path: Path, task: str) -> dict[AnswerKey, Prediction]:
    """The readable rows of a file. A kill may leave a partial line or a torn block; those rows are made again."""
    rows: dict[AnswerKey, Prediction] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1] if path.exists() else [], 1):
        with contextlib.suppress(UserError):
            row = record_of(line, Prediction, path, number)
            if row.task == task:
                rows[row.key] = row
    return rows


def _read_settings(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        settings: dict[str, Any] = json.loads(path.read_bytes())
        typed(settings, _NotSettings)
    except (ValueError, RecursionError) as error:
        fix = f"remove {path.parent} to answer all prompts again"
        raise UserError(f"{path} is not as this version writes it; {fix} ({error})") from None
    return settings


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, dumps(value) + "\n")
