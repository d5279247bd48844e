"""Read saved answers, ours or another tool's, and check that they are those that were asked for."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from sciriff.config import nearest
from sciriff.data.records import AnswerKey, Keyed, named
from sciriff.run.json_lines import read_json_objects, record
from sciriff.run.run_dir import RunDir
from sciriff.run.typed_json import FromOne, read_json
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line
from sciriff.tasks import NAMES
from sciriff.tasks.catalogue import catalogue

Value = TypeVar("Value")

SHOWN = 3
"""Instances that an error names; the rest are counted."""

MOST_TOKENS = 10**9
Tokens = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
"""Tokens of one text. More is no count of tokens, and no page could draw it."""

SAMPLES = re.compile(r"samples_(?P<task>.+?)(_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl")
"""File of answers of lm-eval from 0.4.3 on: `samples_biored_ner_2025-01-31T09-30-00.123456.jsonl`."""
OLD_SAMPLES = re.compile(r"(pretrained|model)__(?P<rest>.+)\.jsonl")
"""The same before 0.4.3: the model's arguments, an underscore, the task."""
WHOLE_GROUP = "science_adapt"
"""Folder in which the original code keeps the answers of all tasks until it sorts them into folders by task."""

SAMPLES_KEY = "samples"
"""Key of expected.json beside the tasks: answers to each instance, if more than one."""


@dataclass(frozen=True)
class SavedAnswer(Keyed):
    """The part of a row of predictions that later stages need."""

    instance_id: str
    prompt: str
    """Prompt with or without its markup; empty if the row has none."""
    prediction: str
    reference: str
    place: str
    """`file:line`, for errors."""
    finish_reason: str | None = None
    """This and the tokens are as in Prediction; rows of other tools may lack them."""
    prompt_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    truncated_tokens: Tokens | None = None
    sample: FromOne | None = None
    thought: str | None = None
    thought_tokens: Tokens | None = None


@dataclass(frozen=True)
class TaskAnswers:
    """The answers of one task."""

    answers: list[SavedAnswer]
    """Ordered by instance, then by sample."""
    requested: list[str]
    """Ids of the requested instances, in order."""
    missing: int
    """Requested answers that are not there; above 0 only under allow_missing."""
    benchmark: int | None = None
    """Instances of this task in SciRIFF's validation split, if nothing else says how many were requested."""
    samples: int = 1
    """Answers to each instance, each scored as if it was the only one."""
    filters: tuple[str, ...] = ()
    """Names of lm-eval's filters in the file, in order, if there are any."""
    taken: str | None = None
    """The filter whose answers these are."""

    @property
    def instances(self) -> list[str]:
        """Ids of the answered instances, in order."""
        return list(dict.fromkeys(answer.instance_id for answer in self.answers))

    def drawn(self, rule: Callable[[int], list[int]]) -> set[str]:
        """Ids the judge's sampling rule selects from all requested instances, whichever of them have an answer."""
        return {self.requested[place] for place in rule(len(self.requested))}

    @property
    def numbers(self) -> list[int]:
        """Numbers of the samples that have an answer."""
        return sorted({answer.key[1] for answer in self.answers})

    def by_sample(self, values: Sequence[Value]) -> dict[int, list[Value]]:
        """Group one value per answer by the number of the sample."""
        parted: dict[int, list[Value]] = {number: [] for number in self.numbers}
        for answer, value in zip(self.answers, values, strict=True):
            parted[answer.key[1]].append(value)
        return parted


def read_predictions(
    folder: Path,
    names: Sequence[str] | None,
    allow_missing: bool,
    held_out: Sequence[str] = NAMES,
    wanted_filter: str | None = None,
) -> dict[str, TaskAnswers]:
    """Read the answers in a folder by task, for the tasks in `names`, or all of `held_out` that are there.

    The folder holds our `<task>.jsonl`, or lm-eval's samples at any depth. An expected.json beside ours lists the
    requested instances; other answers define their own set. lm-eval may have passed each answer through several
    filters; then those of `wanted_filter` are read, in a file without it those of its first. UserError for a name or a
    file that belongs to no task, for answers of several models, for a filter that no file has, for what `asked_answers`
    refuses, and if nothing is left to score.
    """
    for name in names or ():
        if name not in held_out:
            raise UserError(f"eval.tasks: {name} is not a held-out task{nearest(name, held_out)}")
    samples = find_samples(folder, held_out)
    files = _files(folder, samples, held_out)
    expected, each = ({}, None) if samples else read_expected(folder / RunDir(folder).expected.name)
    if not files:
        raise UserError(
            f"{folder}: there are no predictions here; run the predict stage, or name a folder of <task>.jsonl files "
            "or of lm-eval's samples_<task>_*.jsonl with predictions=FOLDER"
        )
    known = files.keys() | expected.keys()
    wanted = [name for name in held_out if name in (known if names is None else names)]
    paths = {name: files.get(name, folder / f"{name}.jsonl") for name in wanted}
    read = {name: _by_filter(path, name, wanted_filter) for name, path in paths.items() if path.is_file()}
    filters = list(dict.fromkeys(chain.from_iterable(names for _, names, _ in read.values())))
    if wanted_filter is not None and wanted_filter not in filters:
        has = f"the filters are {', '.join(map(visible_line, filters))}" if filters else "these answers have no filters"
        raise UserError(f"{folder}: no answers of predictions_filter={visible_line(wanted_filter)}; {has}")
    each = each or max((sample for answers, *_ in read.values() for _, sample in answers), default=1)
    tasks = {}
    for name, path in paths.items():
        answers, of_file, taken = read.get(name, ({}, (), None))
        found = asked_answers(path, name, answers, expected.get(name), each, allow_missing)
        tasks[name] = replace(found, filters=of_file, taken=taken)
    tasks = {name: task for name, task in tasks.items() if task.answers}
    if not tasks:
        raise UserError(f"{folder}: there are no predictions of the chosen tasks here")
    return tasks


def _files(folder: Path, samples: Mapping[str, dict[str, Path]], held_out: Sequence[str]) -> dict[str, Path]:
    """Task -> file, in our own layout or lm-eval's of a single model."""
    named = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    ours = {name: path for name, path in named.items() if name in held_out}
    if not samples:
        for name, path in named.items():
            if name not in held_out and not _task_of_samples(path, held_out):
                raise UserError(f"{path}: {name} is not a held-out task{nearest(name, held_out)}")
        return ours
    for path in ours.values():
        raise UserError(f"{folder}: {path.name} and files of lm-eval lie here side by side; keep one kind")
    first, *others = samples
    if others:
        raise UserError(
            f"{folder}: these are answers of {len(samples)} models ({', '.join(samples)}); choose one with "
            f"predictions={folder / others[-1]}"
        )
    return samples[first]


def _task_of_samples(path: Path, held_out: Sequence[str]) -> str | None:
    """The task that the name of a file of lm-eval ends with; None for another file."""
    if match := SAMPLES.fullmatch(path.name):
        return match["task"]
    match = OLD_SAMPLES.fullmatch(path.name)
    ends = [name for name in held_out if match and match["rest"].endswith(f"_{name}")]
    return max(ends, key=len, default=None)


def find_samples(folder: Path, held_out: Sequence[str] = NAMES) -> dict[str, dict[str, Path]]:
    """Find the files that lm-eval, or the original code through it, wrote below a folder: relative folder of a model
    (`.` for the folder itself) -> held-out task -> file.

    Known layouts are lm-eval's (`[MODEL/]samples_<task>_<time>.jsonl`) and that of the original code, which calls
    lm-eval once a task or once for all (`[MODEL/]<task>/...`, `[MODEL/]science_adapt/...`). UserError for two files of
    one model and task.
    """
    models: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.rglob("*.jsonl")):
        task = _task_of_samples(path, held_out)
        if task is None or task not in held_out:
            continue
        parts = path.relative_to(folder).parts[:-1]
        ends = [place for place, part in enumerate(parts) if part in (task, WHOLE_GROUP)]
        model = Path(*parts[: ends[0]] if ends else parts).as_posix()
        first = models.setdefault(model, {}).setdefault(task, path)
        if first is not path:
            raise UserError(f"{first} and {path} are both answers to {task}; move one of them away")
    return models


def models_below(folder: Path, held_out: Sequence[str] = NAMES) -> list[str]:
    """Relative folders of the models with answers below this one; empty unless there are several, each in its own."""
    models = find_samples(folder, held_out) if folder.is_dir() else {}
    return list(models) if len(models) > 1 and "." not in models else []


def asked_answers(
    path: Path,
    task: str,
    answers: dict[AnswerKey, SavedAnswer],
    expected: Sequence[str] | None,
    samples: int,
    allow_missing: bool,
) -> TaskAnswers:
    """Order the answers of a file by the `expected` instances; None means those in the file.

    UserError for an unexpected answer, and, unless `allow_missing`, for a missing one or an empty file.
    """
    instances = dict.fromkeys([i for i, _ in answers] if expected is None else expected)
    what = "samples" if samples > 1 else "instances"
    if strangers := [named(key) for key in answers if key[0] not in instances or key[1] > samples]:
        raise UserError(f"{path}: {some(strangers)} not among the {what} that were asked")
    requested = len(instances) * samples
    missing = requested - len(answers)
    if missing and not allow_missing:
        # never all at once: a row may name any number as its sample
        keys = ((instance_id, sample) for instance_id in instances for sample in range(1, samples + 1))
        first = islice((named(key) for key in keys if key not in answers), SHOWN)
        raise UserError(
            f"{path}: {some(first, missing)} missing of {requested} {what}; run the predict stage "
            "again, or score what is there with allow_missing=true"
        )
    if not answers and not allow_missing:
        raise UserError(f"{path}: there is no prediction in it" if path.is_file() else f"{path} does not exist")
    entry = catalogue().get(task) if expected is None else None
    places = {instance_id: place for place, instance_id in enumerate(instances)}
    ordered = [answers[key] for key in sorted(answers, key=lambda key: (places[key[0]], key[1]))]
    return TaskAnswers(ordered, list(instances), missing, entry.validation if entry else None, samples)


def read_expected(path: Path) -> tuple[dict[str, list[str]], int | None]:
    """Task -> ids of the requested instances, and answers to each; empty and None without the file."""
    if not path.is_file():
        return {}, None
    what, fix = "the instances that were asked for", "run the predict stage again"
    written = read_json(path, dict[str, list[str] | FromOne], what, fix)
    samples = written.pop(SAMPLES_KEY, 1)
    instances = {task: ids for task, ids in written.items() if isinstance(ids, list)}
    if not isinstance(samples, int) or len(instances) < len(written):
        raise UserError(f"{path}: not {what} ({SAMPLES_KEY} is a number, any task a list of ids); {fix}")
    return instances, samples


def read_answers(path: Path, task: str, wanted_filter: str | None = None) -> dict[AnswerKey, SavedAnswer]:
    """Read the rows of one file, lm-eval's in the order of the data set and of one filter. UserError names file and
    line."""
    return _by_filter(path, task, wanted_filter)[0]


def _by_filter(
    path: Path, task: str, wanted: str | None
) -> tuple[dict[AnswerKey, SavedAnswer], tuple[str, ...], str | None]:
    """Read the answers of one filter of a file, `wanted` or else its first; the names of all, and which it is."""
    names = _filters(path)
    if len(names) < 2:
        return _answers(_rows(path), task), names, names[0] if names else None
    taken = wanted if wanted in names else names[0]
    return _answers(_rows_of_filter(path, taken), task), names, taken


def _filters(path: Path) -> tuple[str, ...]:
    """Names of lm-eval's filters in a file, in the order of their first rows; empty for rows of ours."""
    names: dict[str, None] = {}
    for _, row in _rows(path):
        if not _is_sample(row):
            break
        if isinstance(name := row.get("filter"), str):
            names[name] = None
    return tuple(names)


def _rows_of_filter(path: Path, wanted: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, row in _rows(path):
        if not isinstance(name := row.get("filter"), str):
            raise UserError(f"{place}: this row has no `filter`, and others of the file have several")
        if name == wanted:
            yield place, row


def _is_sample(row: dict[str, Any]) -> bool:
    """Whether a row is lm-eval's."""
    return "filtered_resps" in row or "resps" in row


def _answers(rows: Iterable[tuple[str, dict[str, Any]]], task: str) -> dict[AnswerKey, SavedAnswer]:
    answers: dict[AnswerKey, SavedAnswer] = {}
    ranks: dict[str, int] = {}
    for place, row in rows:
        if _is_sample(row):
            answer = sample_answer(row, task, place)
            # several processes write their shares one after the other; which answers are judged depends on the order
            ranks[answer.instance_id] = row["doc_id"] if type(row.get("doc_id")) is int else len(ranks)
        else:
            answer = our_answer(row, task, place)
        first = answers.setdefault(answer.key, answer)
        if first is not answer:
            raise UserError(f"{place}: instance {named(answer.key)} stands here twice, first at {first.place}")
    return {key: answers[key] for key in sorted(answers, key=lambda key: ranks.get(key[0], 0))}


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of JSON lines, or of the JSON list that early versions of lm-eval wrote under this name."""
    with path.open("rb") as file:
        is_list = file.read(1) == b"["
    if not is_list:
        yield from read_json_objects(path)
        return
    for number, row in enumerate(read_json(path, list[dict[str, Any]], "a JSON list of rows", "write it again"), 1):
        yield f"{path}: row {number}", row


def our_answer(row: dict[str, Any], task: str, place: str) -> SavedAnswer:
    """Read a row of ours. UserError says what is wrong with it."""
    if row.get("task", task) != task:
        raise UserError(f"{place}: this row is of the task {row['task']!r}, not {task}")
    # another tool may have these in a form of its own
    prompt, ended, thought = row.get("prompt"), row.get("finish_reason"), row.get("thought")
    tokens = row.get("thought_tokens")
    known = {
        "place": place,
        "prompt": prompt if isinstance(prompt, str) else "",
        "finish_reason": ended if isinstance(ended, str) else None,
        "thought": thought if isinstance(thought, str) else None,
        "thought_tokens": tokens if type(tokens) is int and 0 <= tokens <= MOST_TOKENS else None,
    }
    return record(row | known, SavedAnswer, place)


def sample_answer(row: dict[str, Any], task: str, place: str) -> SavedAnswer:
    """Read a row of lm-eval. UserError says what is wrong with it.

    `doc` is the instance as the data set has it. Its output is taken before `target`, which some of lm-eval's templates
    have passed through Python's eval. `filtered_resps` holds the first response, as the original code reads it; `resps`
    all of them, a list per request.
    """
    doc: Any = row.get("doc") if isinstance(row.get("doc"), dict) else {}
    doc_id = f"{task}:{row['doc_id']}" if type(row.get("doc_id")) is int else None
    if (instance_id := _text(doc.get("_instance_id"), doc_id)) is None:
        raise UserError(f"{place}: neither doc._instance_id nor doc_id says which instance this is")
    if (prediction := _text(_innermost(row.get("filtered_resps")), _innermost(row.get("resps")))) is None:
        raise UserError(f"{place}: neither filtered_resps nor resps holds a text")
    if (reference := _text(doc.get("output"), row.get("target"))) is None:
        raise UserError(f"{place}: neither doc.output nor target is a text")
    prompt = _text(doc.get("input"), _innermost(row.get("arguments"))) or ""
    return SavedAnswer(instance_id, prompt, prediction, reference, place)


def _text(*values: Any) -> str | None:
    return next((value for value in values if isinstance(value, str)), None)


def _innermost(value: Any) -> str | None:
    """The first text of nested lists, or that of `gen_args_0` and then `arg_0`."""
    while not isinstance(value, str):
        if isinstance(value, list) and value:
            value = value[0]
        elif isinstance(value, dict):
            value = value.get("gen_args_0", value.get("arg_0"))
        else:
            return None
    return value


def some(names: Iterable[str], count: int | None = None) -> str:
    """List names as a sentence's subject, `a, b, c and 7 more are`; with `count` the first SHOWN names suffice."""
    names = list(names)
    count = len(names) if count is None else count
    shown = ", ".join(names[:SHOWN])
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    return f"{shown}{more} {'is' if count == 1 else 'are'}"
