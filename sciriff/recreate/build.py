"""Build all tasks that are asked for, each by a worker, and put their rows together. Finished tasks are kept."""

import contextlib
import functools
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sciriff.config import RecreateConfig, nearest
from sciriff.recreate import workers
from sciriff.recreate.card import task_entry, write_card
from sciriff.recreate.examples import write_examples
from sciriff.recreate.pins import write_pins
from sciriff.recreate.rows import write_rows
from sciriff.recreate.shared_documents import leaking, read_documents, shared
from sciriff.recreate.source import NotAtHand, Source, raw_folder, source_of
from sciriff.recreate.sources import task_source
from sciriff.recreate.task_build import DONE, SPOOL
from sciriff.recreate.task_request import Settings, TaskRequest, TaskResult
from sciriff.recreate.template_file import BUNDLED, TemplateFile, read_template_file, template_files
from sciriff.recreate.tokens import PUBLISHED, TokenCounter
from sciriff.recreate.worker import REQUEST
from sciriff.recreate.workers import Job, Problem
from sciriff.run.digest import file_digest, value_digest
from sciriff.run.locks import hold_or_refuse, hold_or_wait
from sciriff.run.messages import say, say_error
from sciriff.run.typed_json import read_json
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line
from sciriff.run.whole_file import write_whole
from sciriff.tasks import NAMES

TASKS = ".tasks"
"""Folder in `out` with a folder for each task, from which a build goes on."""
PINS = ".pins"
"""Folder beside these; a task's name has no dot."""
ALL_EXAMPLES = "examples.jsonl"
"""File in TASKS with a few rows of each task, for the page of the build."""
ABSENT = "absent.json"
"""In a task's folder: why it could not be built, for the card that a later build with `add` writes."""
SOME_FAILED = 1
LONGEST_LINE = 2000
"""Characters of a line that says why a task failed, which may quote its files."""


@dataclass(frozen=True)
class _Absent:
    how: Literal["failed", "skipped"]
    line: str
    settings: str
    """Digest."""


class Build:
    """One build: what became of each task."""

    def __init__(self, config: RecreateConfig) -> None:
        if config.out is None:
            raise UserError("recreate.out is not set: give recreate.out=FOLDER for the rows")
        self.config = config
        self.out = Path(config.out).expanduser()
        self.templates = Path(config.templates).expanduser() if config.templates else BUNDLED
        self.raw = raw_folder(Path(config.raw).expanduser()) if config.raw else None
        self.tokenizer = config.tokenizer or (PUBLISHED if config.context_window is not None else None)
        self.settings = Settings.of(config, None)
        self.files: dict[str, TemplateFile] = {}
        self.sources: dict[str, Source] = {}
        self.done: dict[str, TaskResult] = {}
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.absent: dict[str, dict[str, str]] = {"skipped": {}, "failed": {}}
        """Tasks that other builds, which this one adds to, have not built: how -> task -> line."""

    def folder(self, task: str) -> Path:
        return self.out / TASKS / task

    def fail(self, task: str, line: str) -> None:
        self.failed[visible_line(task)] = self._everywhere(line)
        self._note(task, "failed", self._everywhere(line))
        say_error(f"{task}: {shortened(line, LONGEST_LINE)}")

    def skip(self, task: str, line: str) -> None:
        self.skipped[visible_line(task)] = self._everywhere(line)
        self._note(task, "skipped", self._everywhere(line))
        say(f"{task}: skipped, for {shortened(line, LONGEST_LINE)}")

    def _everywhere(self, line: str) -> str:
        """Return a line for the card, which is the same wherever the folders are."""
        for folder in filter(None, (self.templates, self.raw)):
            line = line.replace(f"{folder}{os.sep}", "")
        return visible_line(shortened(line, LONGEST_LINE))

    def _note(self, task: str, how: Literal["failed", "skipped"], line: str) -> None:
        note = _Absent(how, line, value_digest(asdict(self.settings)))
        write_whole(self.folder(task) / ABSENT, json.dumps(asdict(note)) + "\n")


def build(config: RecreateConfig, add: bool, wait: bool = False) -> int:
    """Build the rows and return the exit status: 1 if a task failed, or was named and is not at hand. With `add` the
    tasks of an earlier build with the same settings stay in `out`, and other commands may add other tasks meanwhile.
    UserError for what makes all of it impossible, such as a folder that another command is building, unless this one
    may `wait`."""
    made = Build(config)
    known = template_files(made.templates)
    for task in config.tasks or ():
        if task not in known:
            raise UserError(f"recreate.tasks: {visible_line(task)} has no template file{nearest(task, known)}")
    wanted = sorted(set(config.tasks or known))
    with _own(made.out, wanted, add, wait):
        digest = TokenCounter(made.tokenizer).digest if made.tokenizer else None  # before anything takes long
        made.settings = Settings.of(config, digest)
        for task in wanted:
            _find(made, task, known[task])
        pins = write_pins(config.pin, set(made.sources), known, made.out / TASKS / PINS) if config.pin else {}
        jobs = []
        for task in made.sources:
            try:
                request = _request(made, task, pins.get(task))
            except OSError as error:
                made.fail(task, f"{made.files[task].path}: its data cannot be read: {error}")
                continue
            if (finished := _finished(made, task, request.key)) is not None:
                made.done[task] = finished
                (made.folder(task) / ABSENT).unlink(missing_ok=True)
                say(f"{task}: up to date")
            else:
                jobs.append(_job(made, task, request))

        def ended(job: Job, problem: Problem | None) -> None:
            if problem is not None:
                (job.folder / SPOOL).unlink(missing_ok=True)
                (made.skip if problem.not_at_hand else made.fail)(job.task, problem.line)
                return
            result = _read_done(job.folder)
            made.done[job.task] = result
            say(f"{job.task}: {_line(result)}")

        at_once = config.workers or os.cpu_count() or 1
        workers.run(jobs, at_once, config.memory_gb, config.row_seconds, ended)
        with hold_or_wait(made.out / TASKS / ".finish.lock", f"{made.out}: another command is writing it; waiting"):
            return _finish(made, wanted, add)


@contextlib.contextmanager
def _own(out: Path, wanted: list[str], add: bool, wait: bool) -> Iterator[None]:
    """Make `out` and hold it or, to add to it, the tasks that are wanted. UserError for a folder with other files,
    which a build would replace."""
    if out.exists() and not out.is_dir():
        raise UserError(f"recreate.out={out} is a file; name a folder")
    if out.is_dir() and not (out / TASKS).is_dir() and any(out.iterdir()):
        raise UserError(f"recreate.out={out} has other files; name a new folder, or one that an earlier build made")
    (out / TASKS).mkdir(parents=True, exist_ok=True)

    def held(name: str, what: str, shared: bool) -> contextlib.AbstractContextManager[None]:
        lock, line = out / TASKS / name, f"{what} is being built by another command"
        return hold_or_wait(lock, f"{line}; waiting", shared) if wait else hold_or_refuse(lock, line, shared)

    with contextlib.ExitStack() as locks:
        locks.enter_context(held(".lock", f"recreate.out={out}", shared=add))
        for task in wanted if add else []:
            locks.enter_context(held(f".{task}.lock", f"{task} in recreate.out={out}", shared=False))
        yield


def _find(made: Build, task: str, path: Path) -> None:
    try:
        made.files[task] = read_template_file(path)
        made.sources[task] = source_of(made.files[task], made.raw)
    except NotAtHand as missing:
        made.skip(task, str(missing))
    except UserError as error:
        made.fail(task, str(error))
    except OSError as error:
        made.fail(task, f"{path}: {error}")


def _request(made: Build, task: str, pins: Path | None) -> TaskRequest:
    known = task_source(task)
    inputs = {
        "template file": made.files[task].digest,
        "source": made.sources[task].digest(),
        "pins": file_digest(pins) if pins else None,
        "code": _code_digest(),
    }
    return TaskRequest(
        started_in=str(Path.cwd()),
        file=str(made.files[task].path),
        folder=str(made.folder(task)),
        key=value_digest([asdict(made.settings), inputs]),
        settings=made.settings,
        raw=str(made.raw) if made.raw else None,
        tokenizer=made.tokenizer,
        pins=str(pins) if pins else None,
        text_is_lost=known is not None and "text" in known.lost,
    )


@functools.cache
def _code_digest() -> str:
    """Digest of the code by which rows are made: all of this package but its page."""
    here = Path(__file__).parent
    return value_digest([file_digest(path) for path in sorted(here.rglob("*.py")) if path.parent.name != "page"])


def _job(made: Build, task: str, request: TaskRequest) -> Job:
    folder = made.folder(task)
    folder.mkdir(exist_ok=True)
    for left in (DONE, ABSENT):
        (folder / left).unlink(missing_ok=True)
    write_whole(folder / REQUEST, json.dumps(asdict(request), indent=1) + "\n")
    return Job(task, made.files[task].path, folder)


def _finished(made: Build, task: str, key: str) -> TaskResult | None:
    try:
        result = _read_done(made.folder(task))
    except (UserError, FileNotFoundError):  # a record of another version is no record
        return None
    return result if result.key == key else None


def _read_done(folder: Path) -> TaskResult:
    return read_json(folder / DONE, TaskResult, "the record of a finished task", "remove it to build the task again")


def _line(result: TaskResult) -> str:
    rows = ", ".join(f"{count:,} {split}" for split, count in result.rows.items() if count) or "no rows"
    reasons = [f"{entry['rows']:,} {reason}" for reason, entry in result.left_out.items()]
    return "; ".join([rows, *reasons])


def _write(made: Build) -> None:
    """Put the rows of the finished tasks together and write card and manifest."""
    folders = {task: made.folder(task) for task in sorted(made.done)}
    documents = read_documents(folders)
    held_out = [task for task in folders if task in NAMES or made.files[task].metric]
    leaks = leaking(documents, held_out) if made.config.split == "document" else {}
    rows = write_rows(folders, made.out, leaks)
    write_examples(made.out / TASKS / ALL_EXAMPLES, folders, leaks)
    tasks = {
        task: task_entry(made.files[task], made.sources[task], made.done[task], rows[task], leaks.get(task, {}))
        for task in folders
    }
    kept = {
        task: [record for record in records if record.id not in leaks.get(task, {})]
        for task, records in documents.items()
    }
    absent = {"not_at_hand": made.absent["skipped"] | made.skipped, "failed": made.absent["failed"] | made.failed}
    write_card(made.out, asdict(made.settings), tasks, absent, shared(kept, held_out))


def _keep_others(made: Build, wanted: list[str]) -> None:
    """Take up the tasks of other builds that had the same settings: finished ones, and why others are absent."""
    settings = value_digest(asdict(made.settings))
    for path in sorted((made.out / TASKS).glob(f"*/{ABSENT}")):
        task = path.parent.name
        try:
            note = read_json(path, _Absent, "a note", "build it again")
        except UserError:  # of another version, so it says nothing of these settings
            continue
        if task not in wanted and note.settings == settings:
            made.absent[note.how][visible_line(task)] = note.line
    for path in sorted((made.out / TASKS).glob(f"*/{DONE}")):
        task = path.parent.name
        if task in wanted or any(visible_line(task) in lines for lines in made.absent.values()):
            continue
        try:
            request = read_json(path.with_name(REQUEST), TaskRequest, "a request", "build it again")
            if request.settings != made.settings:
                raise UserError("its settings (window, cap, template, split, seed, tokenizer) were others")
            began = Path(request.started_in)
            made.files[task] = read_template_file(began / request.file)
            made.sources[task] = source_of(made.files[task], raw_folder(began / request.raw) if request.raw else None)
            now = _request(made, task, began / request.pins if request.pins else None)
        except (UserError, OSError) as error:
            say(f"{task}: an earlier build made it, and it is left out: {error}")
            continue
        if (finished := _finished(made, task, now.key)) is not None:
            made.done[task] = finished
        else:
            say(f"{task}: an earlier build made it of other files, and it is left out; build it again")


def _finish(made: Build, wanted: list[str], add: bool) -> int:
    """Put the rows together and write the card; return the exit status."""
    if add:
        _keep_others(made, wanted)
    if not made.done:
        task, line = next(iter({**made.failed, **made.skipped}.items()))
        others = f", and {len(made.failed) + len(made.skipped) - 1} more" * (len(made.failed) + len(made.skipped) > 1)
        raise UserError(f"no task could be built: {task} ({line}){others}")
    _write(made)
    total = sum(sum(result.rows.values()) for result in made.done.values())
    say(f"{total:,} rows of {len(made.done)} tasks: {made.out}")
    say(f"a page to look at them: python -m sciriff.recreate.page {shlex.quote(str(made.out))}")
    if made.skipped:
        say(f"{len(made.skipped)} tasks are not at hand; the lines above say where to get their data")
    if made.failed:
        say_error(f"{len(made.failed)} tasks failed: {', '.join(sorted(made.failed))}; the others are written")
    named = set(made.config.tasks or ()) & set(made.skipped)
    return SOME_FAILED if made.failed or named else 0
