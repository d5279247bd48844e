"""Keep finished answers on disk, so that no prompt is answered twice and a killed stage ends in the same bytes.

While the stage runs, rows are appended to predictions/<task>.jsonl as they come. In the end every file is rewritten
once, in the order of the instances. A row is good for as long as three things are the same: the settings of
settings.json (model, engine, ...), of which any change makes all answers again; the row's own prompt, by its digest;
and the answer's limit as far as it played a part. So further tasks, a larger eval.limit, more eval.samples or other
prompts of one task leave all other rows as they are. Rows that nobody asks for any more are kept in
predictions/not_asked/.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

from sciriff.data.records import AnswerKey, Prediction
from sciriff.data.saved_answers import SAMPLES_KEY
from sciriff.run.digest import value_digest
from sciriff.run.json_lines import dumps, to_json, write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import append_lines, write_whole
from sciriff.tasks import HELD_OUT

NOT_SETTINGS = ("asked", "kept", "made with")
"""What else stands in settings.json; see `begin` and `note_versions`."""


@dataclass(frozen=True)
class Asked:
    """One answer as it is asked for now."""

    task: str
    prompt_digest: str
    limit: int
    """Tokens that the answer may have."""
    reference: str
    sample: int | None = None
    """As the row is to have it."""

    def answered_by(self, row: Prediction) -> bool:
        """Whether this very answer would come again. One that ran into a limit would not under another; one that the
        model ended comes again wherever it has room."""
        if row.prompt_digest != self.prompt_digest or not isinstance(row.output_tokens, int):
            return False
        return row.output_tokens == self.limit if row.finish_reason == "length" else row.output_tokens <= self.limit


@dataclass(frozen=True)
class Saved:
    """What an earlier start has left behind."""

    rows: dict[AnswerKey, Prediction]
    """The answers that still are ones to what is asked."""
    kept: frozenset[AnswerKey]
    """Those that were made when something else was asked beside them: finished, and in no batch."""


def begin(run: RunDir, asked: Mapping[AnswerKey, Asked], settings: dict[str, Any]) -> Saved:
    """Take over what is here. `asked` is in order. Writes expected.json and settings.json.

    `asked` in settings.json is the digest of all that is asked, by which `kept` (task -> instance ids, or pairs of id
    and sample) is made up anew when it changes. UserError where rows lie in the folder that this stage did not write.
    """
    run.predictions.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps(settings))
    before = _read_settings(run.answered_with)
    files = [path for task in HELD_OUT if (path := _file(run, task.name)).exists()]
    if before is None and files:
        raise UserError(
            f"{files[0]} was not written by this stage, which would overwrite it: move it away, or score it "
            f"in a run of its own with predictions={run.predictions}"
        )
    if before is not None and (changed := _changed(before, settings)):
        print(
            f"the answers in {run.predictions} were made with another {' and '.join(changed)}: starting afresh",
            flush=True,
        )
        for path in [*files, *run.not_asked.glob("*.jsonl")]:
            path.unlink()
        before = None
    rows = _take_over(run, asked)
    digest = value_digest([[_written(key, one), one.prompt_digest, one.limit] for key, one in asked.items()])
    if before is None or before["asked"] == digest:
        kept = {key for keys in before["kept"].values() for key in map(_key, keys) if key in rows} if before else set()
    else:
        kept = set(rows)
    made_with = before["made with"] if before else []
    _write_json(
        run.answered_with,
        {**settings, "asked": digest, "kept": _by_task(kept, asked), "made with": made_with},
    )
    _write_json(run.expected, _expected(asked))
    return Saved(rows, frozenset(kept))


def note_versions(run: RunDir, made_with: dict[str, Any]) -> None:
    """Add to settings.json what the answers that follow are made with. Other versions are noted beside the earlier ones
    and invalidate nothing, but it is said."""
    settings = _read_settings(run.answered_with)
    assert settings is not None, "begin has written it"
    if made_with not in settings["made with"]:
        if settings["made with"]:
            print(f"other versions or devices than before answer the rest; see {run.answered_with}", flush=True)
        _write_json(run.answered_with, {**settings, "made with": [*settings["made with"], made_with]})


def keep_only(run: RunDir, asked: Mapping[AnswerKey, Asked], rows: Mapping[AnswerKey, Prediction]) -> None:
    """Rewrite the files so that they hold these rows and nothing else, in the order of `asked`."""
    kept: dict[str, list[Prediction]] = {}
    for key, one in asked.items():
        if key in rows:
            kept.setdefault(one.task, []).append(rows[key])
    for task in HELD_OUT:
        if task.name in kept:
            write_jsonl(_file(run, task.name), kept[task.name])
        else:
            _file(run, task.name).unlink(missing_ok=True)


def append(run: RunDir, rows: Iterable[Prediction]) -> None:
    """Add finished rows to their tasks' files, and return when they are on the disk. OSError names the file."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        lines.setdefault(row.task, []).append(to_json(row) + "\n")
    for task, added in lines.items():
        append_lines(_file(run, task), added)


def _take_over(run: RunDir, asked: Mapping[AnswerKey, Asked]) -> dict[AnswerKey, Prediction]:
    """The rows here that answer what is asked. Those that are not asked for move to not_asked/, before they are removed
    from where they are; those that answer something else are lost."""
    rows: dict[AnswerKey, Prediction] = {}
    outdated = 0
    for task in HELD_OUT:
        aside = run.not_asked / f"{task.name}.jsonl"
        found = {**_read(aside, task.name), **_read(_file(run, task.name), task.name)}
        for key in [key for key in found if key in asked]:
            row, one = found.pop(key), asked[key]
            if one.answered_by(row):
                rows[key] = replace(row, reference=one.reference, sample=one.sample)
            else:
                outdated += row.finish_reason != "skipped"
        found = {key: row for key, row in found.items() if row.finish_reason != "skipped"}
        if found:
            write_jsonl(aside, found.values())
        else:
            aside.unlink(missing_ok=True)
    if outdated:
        print(f"{outdated} answers are to another prompt or had another limit and are made again", flush=True)
    if run.not_asked.is_dir() and not any(run.not_asked.iterdir()):
        run.not_asked.rmdir()
    return rows


def _file(run: RunDir, task: str) -> Path:
    return run.predictions / f"{task}.jsonl"


def _written(key: AnswerKey, one: Asked) -> str | list[Any]:
    """A key in settings.json: the instance's id, of a sample with its number."""
    return key[0] if one.sample is None else list(key)


def _key(written: str | list[Any]) -> AnswerKey:
    return (written, 1) if isinstance(written, str) else (written[0], written[1])


def _by_task(keys: Iterable[AnswerKey], asked: Mapping[AnswerKey, Asked]) -> dict[str, list[str | list[Any]]]:
    """Task -> those of its answers that are among these, in the order of `asked`."""
    chosen = set(keys)
    tasks: dict[str, list[str | list[Any]]] = {}
    for key, one in asked.items():
        if key in chosen:
            tasks.setdefault(one.task, []).append(_written(key, one))
    return tasks


def _expected(asked: Mapping[AnswerKey, Asked]) -> dict[str, Any]:
    """Task -> its instances; where there are samples, `samples` says how many of each."""
    tasks: dict[str, list[str]] = {}
    for (instance_id, sample), one in asked.items():
        if sample == 1:
            tasks.setdefault(one.task, []).append(instance_id)
    samples = max((sample for _, sample in asked), default=1)
    return {**tasks, SAMPLES_KEY: samples} if samples > 1 else dict(tasks)


def _changed(before: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Names of the settings that differ."""
    names = {name for name in {**before, **settings} if name not in NOT_SETTINGS}
    return sorted(name for name in names if before.get(name) != settings.get(name))


def _read(path: Path, task: str) -> dict[AnswerKey, Prediction]:
    """The whole rows of a file that may end in half a line or hold a torn block; what cannot be read is made again."""
    rows: dict[AnswerKey, Prediction] = {}
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
        try:
            row = Prediction(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if row.task == task and isinstance(row.instance_id, str) and type(row.sample) in (int, NoneType):
            rows[row.key] = row
    return rows


def _read_settings(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        settings = json.loads(path.read_bytes())
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or not settings.keys() >= set(NOT_SETTINGS):
        raise UserError(f"{path} is not as this version writes it; remove {path.parent} to answer afresh")
    return settings


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, dumps(value) + "\n")
