"""Read saved answers, ours or another tool's, and check that they are what was asked."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from sciriff.config import nearest
from sciriff.data.records import AnswerKey, named
from sciriff.run.json_lines import read_json_objects, record
from sciriff.run.run_dir import RunDir
from sciriff.run.typed_json import FromOne, read_json
from sciriff.run.user_error import UserError
from sciriff.tasks import NAMES
from sciriff.tasks.catalogue import catalogue

Value = TypeVar("Value")

SHOWN = 3
"""How many instances an error names; the rest are counted."""

Tokens = Annotated[int, Meta(ge=0, le=10**9)]
"""Of one text. More is no count of tokens, and no page could draw it."""

SAMPLES = re.compile(r"samples_(?P<task>.+?)(_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl")
"""What lm-eval 0.4.3 and later call a file of answers: `samples_biored_ner_2025-01-31T09-30-00.123456.jsonl`."""
OLD_SAMPLES = re.compile(r"(pretrained|model)__.*_(?P<task>" + "|".join(NAMES) + r")\.jsonl")
"""What it was before: the model's arguments, then the task."""
WHOLE_GROUP = "science_adapt"
"""The folder in which the original code keeps the answers of all tasks until it sorts them into one folder a task."""

SAMPLES_KEY = "samples"
"""In expected.json, beside the tasks: how many answers to each instance were asked for, where it is not one."""


@dataclass(frozen=True)
class SavedAnswer:
    """What is needed of one row of predictions."""

    instance_id: str
    prompt: str
    """What was asked, with or without its markup; empty where the row does not say."""
    prediction: str
    reference: str
    place: str
    """`file:line`, for errors."""
    finish_reason: str | None = None
    """This and the tokens as in Prediction; None where the rows of another tool do not say."""
    prompt_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    truncated_tokens: Tokens | None = None
    sample: FromOne | None = None

    @property
    def key(self) -> AnswerKey:
        return self.instance_id, self.sample or 1


@dataclass(frozen=True)
class TaskAnswers:
    """What is scored of one task."""

    answers: list[SavedAnswer]
    """Instance after instance, of each its samples."""
    asked: list[str]
    """The ids of the instances that were asked for, in their order."""
    missing: int
    """Answers that were asked for and are not there; above 0 only under allow_missing."""
    benchmark: int | None = None
    """Instances that SciRIFF's validation split has of this task, where nothing else says how many were asked; None of
    a task that SciRIFF has not."""
    samples: int = 1
    """Answers to each instance, each scored as if it was the only one."""

    @property
    def instances(self) -> list[str]:
        """The ids of those that have an answer, in their order."""
        return list(dict.fromkeys(answer.instance_id for answer in self.answers))

    def drawn(self, positions: Callable[[int], list[int]]) -> set[str]:
        """The instances that a rule for so many draws, of those that were asked for: whether an answer is missing must
        not change which others are drawn."""
        return {self.asked[place] for place in positions(len(self.asked))}

    @property
    def numbers(self) -> list[int]:
        """Of the samples that have an answer."""
        return sorted({answer.key[1] for answer in self.answers})

    def by_sample(self, values: Sequence[Value]) -> dict[int, list[Value]]:
        """One value for each answer, parted by the number of the sample."""
        parted: dict[int, list[Value]] = {number: [] for number in self.numbers}
        for answer, value in zip(self.answers, values, strict=True):
            parted[answer.key[1]].append(value)
        return parted


@dataclass(frozen=True)
class Expected:
    """Which answers were asked for."""

    instances: dict[str, list[str]]
    """Task -> ids; empty where nobody wrote it down."""
    samples: int | None = None
    """Answers to each; None leaves that to the files."""


@dataclass(frozen=True)
class Samples:
    """The files of answers that lm-eval, or the original code through it, wrote below a folder."""

    models: dict[str, dict[str, Path]]
    """Folder of a model, relative, `.` for the folder itself -> held-out task -> file."""
    others: list[Path]
    """Files of tasks that are none of the nine."""


def read_predictions(folder: Path, names: Sequence[str] | None, allow_missing: bool) -> dict[str, TaskAnswers]:
    """The answers in a folder by task, of the tasks in `names`, or of all that are there.

    The folder holds our `<task>.jsonl`, or lm-eval's samples at any depth. Of ours, expected.json beside them, where it
    is there, says what was asked; other answers define their own set. UserError for a name or a file that belongs to
    no task, for answers of several models, for what read_task refuses, and where nothing is left to score.
    """
    for name in names or ():
        if name not in NAMES:
            raise UserError(f"eval.tasks: {name} is not a held-out task{nearest(name, NAMES)}")
    samples = find_samples(folder)
    files = _our_files(folder, samples)
    expected = Expected({}) if samples.models else read_expected(folder / RunDir(folder).expected.name)
    if not files:
        raise UserError(
            f"{folder}: there are no predictions here; run the predict stage, or name a folder of <task>.jsonl files "
            "or of lm-eval's samples_<task>_*.jsonl with predictions=FOLDER"
        )
    known = files.keys() | expected.instances.keys()
    wanted = [name for name in NAMES if name in (known if names is None else names)]
    paths = {name: files.get(name, folder / f"{name}.jsonl") for name in wanted}
    read = {name: read_answers(path, name) if path.is_file() else {} for name, path in paths.items()}
    each = expected.samples or max((sample for answers in read.values() for _, sample in answers), default=1)
    found = {
        name: asked_answers(paths[name], name, answers, expected.instances.get(name), each, allow_missing)
        for name, answers in read.items()
    }
    found = {name: task for name, task in found.items() if task.answers}
    if not found:
        raise UserError(f"{folder}: there are no predictions of the chosen tasks here")
    return found


def _our_files(folder: Path, samples: Samples) -> dict[str, Path]:
    """Task -> file, of our own layout or of the one model whose samples lie here."""
    ours = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    if samples.models:
        both = [path for name, path in ours.items() if name in NAMES]
        if both:
            raise UserError(f"{folder}: {both[0].name} and files of lm-eval lie here side by side; keep one kind")
        if len(samples.models) > 1:
            models = ", ".join(samples.models)
            raise UserError(
                f"{folder}: these are answers of {len(samples.models)} models ({models}); choose one with "
                f"predictions={folder / list(samples.models)[-1]}"
            )
        return next(iter(samples.models.values()))
    for name, path in ours.items():
        if name not in NAMES and path not in samples.others:
            raise UserError(f"{path}: {name} is not a held-out task{nearest(name, NAMES)}")
    return {name: path for name, path in ours.items() if name in NAMES}


def find_samples(folder: Path) -> Samples:
    """lm-eval's files below a folder, by model.

    Known are what lm-eval writes (`[MODEL/]samples_<task>_<time>.jsonl`) and the tree of the original code, which calls
    lm-eval once a task or once for all (`[MODEL/]<task>/...`, `[MODEL/]science_adapt/...`). UserError where a model
    has two files of one task.
    """
    models: dict[str, dict[str, Path]] = {}
    others = []
    for path in sorted(folder.rglob("*.jsonl")):
        match = SAMPLES.fullmatch(path.name) or OLD_SAMPLES.fullmatch(path.name)
        if match is None:
            continue
        task = match["task"]
        if task not in NAMES:
            others.append(path)
            continue
        parts = path.relative_to(folder).parts[:-1]
        ends = [place for place, part in enumerate(parts) if part in (task, WHOLE_GROUP)]
        model = Path(*parts[: ends[0]] if ends else parts).as_posix()
        first = models.setdefault(model, {}).setdefault(task, path)
        if first is not path:
            raise UserError(f"{first} and {path} are both answers to {task}; move one of them away")
    return Samples(models, others)


def models_below(folder: Path) -> list[str]:
    """The folders, relative, of the models whose answers lie below this one; empty unless there are several, each in a
    folder of its own."""
    models = find_samples(folder).models if folder.is_dir() else {}
    return list(models) if len(models) > 1 and "." not in models else []


def asked_answers(
    path: Path,
    task: str,
    answers: dict[AnswerKey, SavedAnswer],
    expected: Sequence[str] | None,
    samples: int,
    allow_missing: bool,
) -> TaskAnswers:
    """Of the answers that a file holds those that were asked for, in that order; `expected` None takes the file's word
    for which instances these are.

    UserError for one that was not asked for, and, unless `allow_missing`, for one that is missing or a file that holds
    nothing.
    """
    instances = dict.fromkeys([i for i, _ in answers] if expected is None else expected)
    strangers = [key for key in answers if key[0] not in instances or key[1] > samples]
    if strangers:
        raise UserError(f"{path}: {some(map(named, strangers))} not among the {_asked_for(samples)} that were asked")
    asked = len(instances) * samples
    missing = asked - len(answers)
    if missing and not allow_missing:
        # never all of them at once: one row may have any number as that of its sample
        keys = ((instance_id, sample) for instance_id in instances for sample in range(1, samples + 1))
        first = islice((named(key) for key in keys if key not in answers), SHOWN)
        raise UserError(
            f"{path}: {some(first, missing)} missing of {asked} {_asked_for(samples)}; run the predict stage "
            "again, or score what is there with allow_missing=true"
        )
    if not answers and not allow_missing:
        raise UserError(f"{path}: there is no prediction in it" if path.is_file() else f"{path} does not exist")
    entry = catalogue().get(task) if expected is None else None
    places = {instance_id: place for place, instance_id in enumerate(instances)}
    found = [answers[key] for key in sorted(answers, key=lambda key: (places[key[0]], key[1]))]
    return TaskAnswers(found, list(instances), missing, entry.validation if entry else None, samples)


def _asked_for(samples: int) -> str:
    return "samples" if samples > 1 else "instances"


def read_expected(path: Path) -> Expected:
    """Which answers were asked for; nothing where nobody wrote it down."""
    if not path.is_file():
        return Expected({})
    what, fix = "the instances that were asked for", "run the predict stage again"
    written = read_json(path, dict[str, list[str] | FromOne], what, fix)
    samples = written.pop(SAMPLES_KEY, 1)
    instances = {task: ids for task, ids in written.items() if isinstance(ids, list)}
    if not isinstance(samples, int) or len(instances) < len(written):
        raise UserError(f"{path}: not {what} ({SAMPLES_KEY} is a number, any task a list of ids); {fix}")
    return Expected(instances, samples)


def read_answers(path: Path, task: str) -> dict[AnswerKey, SavedAnswer]:
    """The rows of one file, lm-eval's in the order of the data set. UserError names file and line."""
    answers: dict[AnswerKey, SavedAnswer] = {}
    ranks: dict[str, int] = {}
    for place, row in _rows(path):
        if "filtered_resps" in row or "resps" in row:
            answer = sample_answer(row, task, place)
            # Several processes write their shares one after the other; who is judged depends on the order.
            ranks[answer.instance_id] = row["doc_id"] if type(row.get("doc_id")) is int else len(ranks)
        else:
            answer = our_answer(row, task, place)
        first = answers.setdefault(answer.key, answer)
        if first is not answer:
            raise UserError(f"{place}: instance {named(answer.key)} stands here twice, first at {first.place}")
    return {key: answers[key] for key in sorted(answers, key=lambda key: ranks.get(key[0], 0))}


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of JSON lines, or of the one JSON list that lm-eval wrote at first under the same name."""
    with path.open("rb") as file:
        is_list = file.read(1) == b"["
    if not is_list:
        for number, row in read_json_objects(path):
            yield f"{path}:{number}", row
        return
    for number, row in enumerate(read_json(path, list[dict[str, Any]], "a JSON list of rows", "write it again"), 1):
        yield f"{path}: row {number}", row


def our_answer(row: dict[str, Any], task: str, place: str) -> SavedAnswer:
    """The answer in a row of ours. UserError says what is wrong with it."""
    if row.get("task", task) != task:
        raise UserError(f"{place}: this row is of the task {row['task']!r}, not {task}")
    prompt, ended = row.get("prompt"), row.get("finish_reason")  # another tool may have them in a form of its own
    known = {
        "place": place,
        "prompt": prompt if isinstance(prompt, str) else "",
        "finish_reason": ended if isinstance(ended, str) else None,
    }
    return record(row | known, SavedAnswer, place)


def sample_answer(row: dict[str, Any], task: str, place: str) -> SavedAnswer:
    """The answer in a row of lm-eval. UserError says what is wrong with it.

    `doc` is the instance as the data set has it. Its output is taken before `target`, which some of lm-eval's templates
    have passed through Python's eval. `filtered_resps` holds the first response, as the original code reads it;
    `resps` all of them, one list a request.
    """
    doc = row.get("doc") if isinstance(row.get("doc"), dict) else {}
    assert isinstance(doc, dict)
    instance_id = doc.get("_instance_id")
    if not isinstance(instance_id, str):
        if type(row.get("doc_id")) is not int:
            raise UserError(f"{place}: neither doc._instance_id nor doc_id says which instance this is")
        instance_id = f"{task}:{row['doc_id']}"
    prediction = _first_text(row.get("filtered_resps"))
    if prediction is None:
        prediction = _first_text(row.get("resps"))
    if prediction is None:
        raise UserError(f"{place}: neither filtered_resps nor resps holds a text")
    reference = doc.get("output")
    if not isinstance(reference, str):
        reference = row.get("target")
    if not isinstance(reference, str):
        raise UserError(f"{place}: neither doc.output nor target is a text")
    prompt = doc.get("input")
    if not isinstance(prompt, str):
        prompt = _first_text(row.get("arguments")) or ""
    return SavedAnswer(instance_id, prompt, prediction, reference, place)


def _first_text(value: Any) -> str | None:
    """The text, or the first of a list (of lists), or of `gen_args_0` and then `arg_0`; None where there is none."""
    while not isinstance(value, str):
        if isinstance(value, list) and value:
            value = value[0]
        elif isinstance(value, dict):
            value = value.get("gen_args_0", value.get("arg_0"))
        else:
            return None
    return value


def some(names: Iterable[str], count: int | None = None) -> str:
    """`a, b, c and 7 more are`, as the subject of a sentence; of `count` names the first suffice."""
    instance_ids = list(names)
    count = len(instance_ids) if count is None else count
    shown = ", ".join(instance_ids[:SHOWN])
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    return f"{shown}{more} {'is' if count == 1 else 'are'}"
