"""Find finished runs by folder or name, read the numbers of their answers, and put the seeds of one config together."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sciriff.config import UNNAMED, read
from sciriff.data.records import AnswerKey
from sciriff.results.general_items import GeneralRun, read_general
from sciriff.results.per_instance import InstanceNumbers, read_per_instance
from sciriff.results.scores import (
    ColumnScore,
    Scores,
    answers_of,
    columns_and_statistics,
    general_and_mean,
    held_out_of,
    read_scores,
)
from sciriff.run.digest import value_digest
from sciriff.run.nearest import resembling
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks import HELD_OUT
from sciriff.tasks.task import Task

RUNS = "runs"
"""Where runs are by default, so that a name or a pattern of names is enough."""


@dataclass(frozen=True)
class FinishedRun:
    """A run with scores."""

    name: str
    folder: Path
    parity: str
    """Rules that it was scored by: `eval.parity`."""
    judges: dict[str, str]
    """Task -> the model that judged it."""
    numbers: dict[str, dict[AnswerKey, InstanceNumbers]]
    """Task -> answer -> its numbers."""
    scores: dict[str, ColumnScore]
    """Column, `mean` or `median` -> score, as in scores.json."""
    seed: int | None = None
    identity: str | None = None
    """Digest of all config keys that decide its results except the seed; None without a config."""
    tasks: tuple[Task, ...] = HELD_OUT
    """The held-out tasks that it was scored for, one's own among them."""
    general: GeneralRun | None = None
    """What each document of its general tasks scored, without texts; None without any."""
    general_scores: dict[str, ColumnScore] = field(default_factory=dict)
    """General task or `mean` -> score, as in scores.json."""
    thoughts: int = 0
    """Answers to the held-out tasks that have a thought before them."""


def tasks_of(runs: Sequence[FinishedRun]) -> tuple[Task, ...]:
    """The held-out tasks of some runs: the nine, and then by name one's own of any of them."""
    own = {task.name: task for run in reversed(runs) for task in run.tasks[len(HELD_OUT) :]}
    return (*HELD_OUT, *(own[name] for name in sorted(own)))


def find_runs(wanted: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return the folders of finished runs, each once in the order of `wanted`, and those of unfinished runs.

    Each of `wanted` is the folder of a run, a folder that holds runs at any depth, a pattern of such (`runs/*-lr*`), or
    a name or a pattern of names in runs/. UserError if one finds nothing or names an unfinished run itself.
    """
    finished: dict[Path, Path] = {}
    passed: dict[Path, Path] = {}
    for text in wanted:
        for run in _found(text):
            if RunDir(run).scores.is_file():
                finished.setdefault(run.resolve(), run)
            elif _places(text) == [run]:
                raise UserError(f"{run}: this run has no scores yet; finish it first, or leave it out")
            else:
                passed.setdefault(run.resolve(), run)
    return list(finished.values()), list(passed.values())


def find_folders(wanted: Sequence[str]) -> list[Path]:
    """Return the folders of all runs, finished or not, each once; `wanted` as in `find_runs`."""
    return list({run.resolve(): run for text in wanted for run in _found(text)}.values())


def _places(text: str) -> list[Path]:
    """The folder itself, or what fits a pattern here or else in runs/. pathlib's own glob refuses absolute patterns."""
    if Path(text).is_dir():
        return [Path(text)]
    here = [Path(match) for match in sorted(glob.glob(text))]  # noqa: PTH207
    return here or [Path(RUNS) / match for match in sorted(glob.glob(text, root_dir=RUNS))]  # noqa: PTH207


def _found(text: str) -> list[Path]:
    """Find the runs of one name or pattern. UserError, with the nearest name, if there are none."""
    runs = [run for place in _places(text) for run in _runs_in(place)]
    if not runs:
        named = Path(text)
        place = named.parent if named.parent != Path() else Path(RUNS)
        close = resembling(named.name, [path.name for path in place.glob("*")])
        raise UserError(
            f"{text}: no run is found here; name a run's folder, a folder of runs, or a name in {RUNS}/{close}"
        )
    return runs


def _runs_in(folder: Path) -> Iterator[Path]:
    """Yield the folder itself if it is a run's, else the runs at any depth in it."""
    if RunDir(folder).scores.is_file() or RunDir(folder).config.is_file():
        yield folder
    elif folder.is_dir():
        for inner in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _runs_in(inner)


def read_run(folder: Path) -> FinishedRun:
    """Read a run with the numbers of all its answers. UserError names the file that is missing or broken."""
    run = RunDir(folder)
    scores = read_scores(run.scores)
    numbers = {}
    tasks = held_out_of(scores)
    for task in tasks:
        if (scored := scores["tasks"].get(task.name)) is None:
            continue
        path = run.per_instance / f"{task.name}.jsonl"
        if not path.is_file():
            raise UserError(f"{path} does not exist; `python -m sciriff.score {folder}` makes it")
        numbers[task.name] = read_per_instance(path, task)
        if len(numbers[task.name]) != answers_of(scored):
            raise UserError(
                f"{path} has {len(numbers[task.name])} answers and scores.json {answers_of(scored)}; "
                f"`python -m sciriff.score {folder}` makes both again"
            )
    general = _read_general(run, scores)
    config = read_config(run.config) if run.config.is_file() else {}
    seed = config.pop("seed", None)
    return FinishedRun(
        scores["model"],
        folder,
        scores["parity"],
        judges={task: row["judge"]["judge"] for task, row in scores["tasks"].items() if "judge" in row},
        numbers=numbers,
        scores=columns_and_statistics(scores["summary"]),
        seed=seed,
        identity=value_digest(config) if config else None,
        tasks=tasks,
        general=general,
        general_scores=general_and_mean(scores.get("general")),
        thoughts=sum(row["thoughts"]["answers"] for row in scores["tasks"].values() if "thoughts" in row),
    )


def _read_general(run: RunDir, scores: Scores) -> GeneralRun | None:
    """Read the documents of the general tasks, if these were scored. UserError if they are others than those in
    scores.json."""
    if (scored := scores.get("general")) is None:
        return None
    again = f"`python -m sciriff.score {run.root}` makes it again"
    general = read_general(run, texts=False)
    if general is None:
        raise UserError(f"{run.general_settings} does not exist, but scores.json has general tasks; {again}")
    counts = {
        name: sum(len(general.items[leaf]) for leaf in task.leaves) for name, task in general.settings.tasks.items()
    }
    if counts != {name: task["n"] for name, task in scored["tasks"].items()}:
        raise UserError(f"{run.scores}: the general tasks are others than those in {run.general}; {again}")
    return general


def read_runs(folders: Sequence[Path]) -> tuple[list[FinishedRun], dict[Path, str]]:
    """Return the runs that can be read, and folder -> why it cannot be read for the others."""
    runs, unreadable = [], {}
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except ValueError as error:
            unreadable[folder] = str(error)
    return runs, unreadable


def read_config(path: Path) -> dict[str, Any]:
    """Read a run's config unchecked (older runs may have other keys), without keys that do not decide its results."""
    try:
        plain = read(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    for key in UNNAMED:
        *sections, last = key.split(".")
        inside: Any = plain
        for section in sections:
            inside = inside.get(section) if isinstance(inside, dict) else None
        if isinstance(inside, dict):
            inside.pop(last, None)
    return plain


def with_own_names(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Name runs that share a name after their folders."""
    names = [run.name for run in runs]
    return [replace(run, name=str(run.folder)) if names.count(run.name) > 1 else run for run in runs]
