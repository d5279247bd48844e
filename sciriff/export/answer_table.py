"""The answers of finished runs as one long table: a row per answer, in batches, so that no run is held whole.

Columns are those of the answer (FIXED), `score.NAME` and `count.NAME` for every score and count that one of the tasks
has, and `config.KEY` for the keys of the runs' configs. Where a row has no such thing the cell is null.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa

from sciriff.data.saved_answers import SavedAnswer
from sciriff.results.answer_scores import decided_scores, own_scores
from sciriff.results.finished_runs import find_runs, read_config
from sciriff.results.general_items import read_general
from sciriff.results.per_instance import InstanceNumbers, read_per_instance
from sciriff.results.run_answers import answers_file, has_own_answers, lies_in, run_answers
from sciriff.results.scores import Scores, held_out_of, read_scores
from sciriff.run.messages import say
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks.task import Task

FIXED = {
    "run": pa.string(),
    "folder": pa.string(),
    "task": pa.string(),
    "instance_id": pa.string(),
    "sample": pa.int64(),
    "document": pa.string(),
    "prompt": pa.string(),
    "prediction": pa.string(),
    "reference": pa.string(),
    "finish_reason": pa.string(),
    "prompt_tokens": pa.int64(),
    "output_tokens": pa.int64(),
    "truncated_tokens": pa.int64(),
    "thought": pa.string(),
    "thought_tokens": pa.int64(),
    "readable": pa.bool_(),
    "unreadable": pa.string(),
    "score": pa.float64(),
    "judge": pa.string(),
    "rating": pa.float64(),
}
TEXTS = ("prompt", "prediction", "reference", "thought")
OF_ANSWER = (*TEXTS, "finish_reason", "prompt_tokens", "output_tokens", "truncated_tokens", "thought_tokens")
"""Fields of a saved answer."""
GENERAL = "general/"
"""Prefix of the names of leaf tasks of lm-eval."""
KEYS = ALL, DIFFERING, NONE = "all", "differing", "none"
"""Which keys of the configs are columns."""

MOST_ROWS, MOST_CHARACTERS = 5_000, 32_000_000
"""Rows and characters of a batch at most: what is held in memory at a time."""
MOST_NUMBER = 2**63 - 1
MOST_KEYS = 5_000
"""Keys of all configs together; a config has some hundred."""
LONGEST_NAME = 100
"""Characters of a name that a message shows."""
PLAIN_KEY = re.compile(r"[\w-]+", re.ASCII)
SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class TableRun:
    """A run as the table has it."""

    name: str
    folder: Path
    scores: Scores
    config: Mapping[str, Any]
    """Flat key -> value."""
    own_answers: bool

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder)

    @property
    def tasks(self) -> list[Task]:
        """The held-out tasks that were scored."""
        return [task for task in held_out_of(self.scores) if task.name in self.scores["tasks"]]


@dataclass
class Told:
    """What a reader of the table must know."""

    replaced: int = 0
    """Texts with lone surrogates, which Parquet cannot hold."""
    elsewhere: Counter[str] = field(default_factory=Counter)
    """Run -> rows whose texts are not in its folder."""
    unscored: Counter[str] = field(default_factory=Counter)
    """Run -> answers without numbers."""

    @property
    def lines(self) -> list[str]:
        why = "rows without texts, which are not in the run's folder"
        lines = [f"{name}: {n:,} {why}" for name, n in self.elsewhere.items()]
        lines += [f"{name}: {n:,} answers are not scored" for name, n in self.unscored.items()]
        if self.replaced:
            lines.append(f"{self.replaced:,} texts had lone surrogates, which are now U+FFFD")
        return lines


@dataclass(frozen=True)
class Row:
    """One answer before it is cells."""

    values: Mapping[str, Any]
    """Cells of FIXED but run and folder."""
    scores: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        return sum(len(self.values.get(name) or "") for name in TEXTS)


class AnswerTable:
    """The columns of some runs, and their rows in batches."""

    def __init__(self, runs: Sequence[TableRun], config: str = ALL, prompts: bool = True) -> None:
        self.runs, self.told = runs, Told()
        tasks = {task.name: task for run in runs for task in run.tasks}.values()
        self.scores = list(dict.fromkeys(short for task in tasks for short in task.summary))
        self.counts = list(dict.fromkeys(name for task in tasks for name in task.fields))
        self.config = _config_columns([run.config for run in runs], config)
        self.fixed = {name: kind for name, kind in FIXED.items() if prompts or name != "prompt"}
        columns = {
            **self.fixed,
            **{f"score.{short}": pa.float64() for short in self.scores},
            **{f"count.{name}": pa.float64() for name in self.counts},
            **{f"config.{key}": kind for key, kind in self.config.items()},
        }
        self.schema = pa.schema(list(columns.items()), metadata={"sciriff": "answers/1"})

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all runs: by run, task, and then as the answers stand in their files."""
        for run in self.runs:
            constants = [_config_value(run.config.get(key), kind) for key, kind in self.config.items()]
            rows: list[Row] = []
            size = 0
            for row in self._rows(run):
                rows.append(row)
                size += row.characters
                if len(rows) == MOST_ROWS or size >= MOST_CHARACTERS:
                    yield self._batch(run, rows, constants)
                    rows, size = [], 0
            if rows:
                yield self._batch(run, rows, constants)

    def _rows(self, run: TableRun) -> Iterator[Row]:
        for task in run.tasks:
            path = _of_run(run.folder, run.run.per_instance / f"{task.name}.jsonl")
            numbers = read_per_instance(path, task)
            file = answers_file(run.run, task.name) if run.own_answers else None
            for answer in run_answers(file, task.name) if file else ():
                scored = numbers.pop(answer.key, None)
                if scored is None:
                    self.told.unscored[run.name] += 1
                yield _row(run, task, answer.instance_id, answer.key[1], answer, scored)
            for (instance_id, sample), scored in numbers.items():
                self.told.elsewhere[run.name] += 1
                yield _row(run, task, instance_id, sample, None, scored)
        yield from _general_rows(run)

    def _batch(self, run: TableRun, rows: Sequence[Row], constants: Sequence[Any]) -> pa.RecordBatch:
        of_run = {"run": run.name, "folder": str(run.folder)}
        arrays = []
        for name, kind in self.fixed.items():
            cells = [of_run.get(name, row.values.get(name)) for row in rows]
            arrays.append(pa.array(map(self._utf8, cells) if kind == pa.string() else cells, kind))
        arrays += [pa.array([row.scores.get(short) for row in rows], pa.float64()) for short in self.scores]
        arrays += [pa.array([row.counts.get(name) for row in rows], pa.float64()) for name in self.counts]
        arrays += [
            pa.repeat(pa.scalar(self._utf8(value), kind), len(rows))
            for value, kind in zip(constants, self.config.values(), strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _utf8(self, value: Any) -> Any:
        """Text that Parquet can hold; anything else as it is."""
        if not isinstance(value, str) or value.isascii() or not SURROGATES.search(value):
            return value
        self.told.replaced += 1
        return SURROGATES.sub("\ufffd", value)


def _row(
    run: TableRun, task: Task, instance_id: str, sample: int, answer: SavedAnswer | None, scored: InstanceNumbers | None
) -> Row:
    if sample > MOST_NUMBER:
        raise UserError(f"{run.name}: {task.name}: sample={str(sample)[:LONGEST_NAME]} is no number of an answer")
    values: dict[str, Any] = {"task": task.name, "instance_id": instance_id, "sample": sample}
    if answer is not None:
        values |= {name: getattr(answer, name) for name in OF_ANSWER}
    if scored is None:
        return Row(values)
    counts = dict(zip(task.fields, scored.vector, strict=True))
    own = own_scores(task, scored.vector)
    values |= {
        "document": scored.document,
        "readable": scored.unreadable is None,
        "unreadable": scored.unreadable,
        "score": fmean(own.values()) if own else None,
    }
    if counts["rated"]:
        judge = run.scores["tasks"][task.name].get("judge")
        values |= {"judge": judge["judge"] if judge else None, "rating": 1 + 4 * counts["points"]}
    return Row(values, decided_scores(task, scored.vector), counts)


def _general_rows(run: TableRun) -> Iterator[Row]:
    """The documents of general tasks, leaf by leaf."""
    if not run.run.general_settings.is_file():
        return
    for path in sorted(run.run.general.iterdir()):
        _of_run(run.folder, path)
    general = read_general(run.run)
    for leaf, items in general.items.items() if general else ():
        for item in items:
            yield Row(
                {
                    "task": f"{GENERAL}{leaf}",
                    "instance_id": f"{leaf}:{item.doc_id}",
                    "sample": 1,
                    "prompt": item.question,
                    "prediction": item.answer,
                    "reference": item.target,
                    "finish_reason": item.finish,
                    "thought_tokens": item.thought_tokens,
                    "score": item.value,
                }
            )


def read_table_runs(wanted: Sequence[str]) -> list[TableRun]:
    """The finished runs that some folders, names and patterns stand for, each with a name of its own; the others are
    said. UserError for one that cannot be read."""
    folders, unfinished = find_runs(wanted)
    say(*(f"left out, without scores yet: {folder}" for folder in unfinished))
    if not folders:
        raise UserError("there is no finished run here")
    runs = []
    for folder in folders:
        run = RunDir(folder)
        scores = read_scores(_of_run(folder, run.scores))
        config = read_config(_of_run(folder, run.config)) if run.config.is_file() else {}
        runs.append(TableRun(scores["model"], folder, scores, dict(_flat(config)), has_own_answers(run)))
    names = Counter(run.name for run in runs)
    return [replace(run, name=str(run.folder)) if names[run.name] > 1 else run for run in runs]


def _of_run(folder: Path, path: Path) -> Path:
    """The path. UserError if it leads out of the run's folder: somebody else may have made the folder."""
    if not path.exists():
        raise UserError(f"{path} does not exist; `python -m sciriff.score {folder}` makes it")
    if not lies_in(folder, path):
        raise UserError(f"{path} is a link out of the run's folder; put the file itself there")
    return path


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that is no filled dict. A part with other characters is in JSON's quotes."""
    for key, value in values.items():
        part = str(key) if PLAIN_KEY.fullmatch(str(key)) else json.dumps(str(key))
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{part}.")
        else:
            yield above + part, value


def _config_columns(configs: Sequence[Mapping[str, Any]], which: str) -> dict[str, pa.DataType]:
    """Key -> type of its column: the keys in which the runs differ first, each in the order of the configs."""
    keys = list(dict.fromkeys(key for config in configs for key in config)) if which != NONE else []
    if len(keys) > MOST_KEYS:
        raise UserError(
            f"the configs of these runs have {len(keys):,} keys (at most {MOST_KEYS:,}); --keys {NONE} leaves them out"
        )
    differing = [key for key in keys if len({json.dumps(config.get(key), default=str) for config in configs}) > 1]
    others = [key for key in keys if key not in set(differing)] if which == ALL else []
    return {key: _config_type([config.get(key) for config in configs]) for key in [*differing, *others]}


def _config_type(values: Sequence[Any]) -> pa.DataType:
    """Type of a column: that of all values, a float for whole numbers beside others, else text."""
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if kinds == {bool}:
        return pa.bool_()
    if not kinds or not kinds <= {int, float} or any(isinstance(v, int) and abs(v) > MOST_NUMBER for v in known):
        return pa.string()
    return pa.int64() if kinds == {int} else pa.float64()


def _config_value(value: Any, kind: pa.DataType) -> Any:
    """A value as a cell: text stands as it is, lists and words beside numbers as JSON."""
    if value is None:
        return None
    if kind == pa.string():
        return value if isinstance(value, str) else json.dumps(value, default=str)
    return float(value) if kind == pa.float64() else value
