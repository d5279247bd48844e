"""The answers of up to four runs side by side: read from their folders, checked against the scores, and paired."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sciriff.data.records import AnswerKey
from sciriff.data.saved_answers import SavedAnswer, read_answers
from sciriff.report.answers import Answers, ShownAnswer, evenly_spaced, with_scores
from sciriff.results.finished_runs import FinishedRun, read_config
from sciriff.results.per_instance import DIGITS, InstanceNumbers
from sciriff.results.run_answers import answers_file, has_own_answers
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks.metrics.text_overlap import BleuCounts
from sciriff.tasks.task import Task

MOST_RUNS = 4
"""Runs whose answers stand beside each other; more are too narrow to read."""
CHECKED = 5_000
"""Answers of a run that are scored again, evenly spaced, to see that its scores are of these answers."""


@dataclass(frozen=True)
class ShownRun:
    """A run under its name with its answers by task."""

    name: str
    tasks: dict[str, Answers]


@dataclass(frozen=True)
class Item:
    """The answers of all runs to one instance (one sample of it); None where a run has no such answer."""

    key: AnswerKey
    answers: tuple[ShownAnswer | None, ...]

    @property
    def given(self) -> list[ShownAnswer]:
        """The answers that there are: one at least."""
        return [answer for answer in self.answers if answer is not None]


@dataclass(frozen=True)
class TaskItems:
    """The items of one task, in the order of the first run's instances, the samples of each together."""

    task: Task
    items: list[Item]
    has: tuple[bool, ...]
    """Whether each run has answers to this task."""


def paired(runs: Sequence[ShownRun]) -> list[TaskItems]:
    """Put the answers to each instance together, by its id and the number of the sample."""
    tasks = {name: answers.task for run in reversed(runs) for name, answers in run.tasks.items()}
    found = []
    for name in dict.fromkeys(name for run in runs for name in run.tasks):
        tables = [{row.answer.key: row for row in run.tasks[name].rows} if name in run.tasks else {} for run in runs]
        keys = dict.fromkeys(key for table in tables for key in table)
        places = {instance_id: place for place, instance_id in enumerate(dict.fromkeys(key[0] for key in keys))}
        ordered_keys = sorted(keys, key=lambda key: (places[key[0]], key[1]))
        items = [Item(key, tuple(table.get(key) for table in tables)) for key in ordered_keys]
        found.append(TaskItems(tasks[name], items, tuple(map(bool, tables))))
    return found


def pairing_notes(runs: Sequence[ShownRun], tasks: Sequence[TaskItems]) -> list[str]:
    """What not all runs have, and instances with which they were given different references."""
    notes = []
    for found in tasks:
        name = found.task.name
        lacking = [run.name for run, has in zip(runs, found.has, strict=True) if not has]
        if lacking:
            notes.append(f"{name}: no answers of {' or '.join(lacking)} are shown.")
        having = [place for place, has in enumerate(found.has) if has]
        alone = sum(any(item.answers[place] is None for place in having) for item in found.items)
        if alone:
            notes.append(f"{name}: not every run answered {alone:,} of the {len(found.items):,} items.")
        odd = sum(len({row.answer.reference for row in item.given}) > 1 for item in found.items)
        if odd:
            notes.append(f"{name}: the runs were given different references for {odd:,} items.")
    return notes


# ---- reading ----


def read_shown(run: FinishedRun, texts: dict[str, str]) -> tuple[ShownRun, list[str]]:
    """The answers that stand in the run's own folder and are those that were scored, and why others are not shown.

    `texts` holds each prompt and reference once, for all runs that are read with it. No path in the run's config is
    followed: the folder may be a stranger's.
    """
    folder = RunDir(run.folder)
    if not has_own_answers(folder):
        elsewhere = read_config(folder.config)["predictions"]
        return ShownRun(run.name, {}), [f"{run.name}: its answers are not in its folder but in {elsewhere}."]
    tasks, gone, notes = {}, [], []
    for task in run.tasks:
        numbers = run.numbers.get(task.name)
        if not numbers:
            continue
        path = answers_file(folder, task.name)
        if path is None:
            gone.append(task.name)
            continue
        try:
            given = [_shared(answer, texts) for answer in read_answers(path, task.name).values()]
            share = CHECKED * len(numbers) // sum(map(len, run.numbers.values()))
            _check(task, given, numbers, run.parity == "reference", max(share, 1))
            scored = [answer for answer in given if answer.key in numbers]
            tasks[task.name] = with_scores(task, scored, numbers, run.parity == "reference")
            if more := len(given) - len(scored):
                notes.append(f"{run.name}: {more:,} answers to {task.name} have no scores and are not shown.")
        except ValueError as error:
            notes.append(f"{run.name}: its answers to {task.name} are not shown: {error}.")
    if gone:
        what = (
            "its predictions are gone" if not tasks and not notes else f"its predictions of {', '.join(gone)} are gone"
        )
        notes.append(f"{run.name}: {what} ({folder.predictions}).")
    return ShownRun(run.name, tasks), notes


def _shared(answer: SavedAnswer, texts: dict[str, str]) -> SavedAnswer:
    prompt, reference = (texts.setdefault(text, text) for text in (answer.prompt, answer.reference))
    return replace(answer, prompt=prompt, reference=reference)


def _check(
    task: Task, given: Sequence[SavedAnswer], numbers: Mapping[AnswerKey, InstanceNumbers], parity: bool, most: int
) -> None:
    """UserError where these are not the answers that the numbers are of. `most` are scored again."""
    known = {answer.key for answer in given}
    again = "the score stage makes new scores of them"
    if gone := sum(key not in known for key in numbers):
        raise UserError(f"{gone:,} of the {len(numbers):,} answers that were scored are gone; {again}")
    scored = [answer for answer in given if answer.key in numbers]
    looked_at = evenly_spaced(scored, most)
    differing = sum(not _is_of(task, answer, numbers[answer.key], parity) for answer in looked_at)
    if differing:
        of = "" if len(looked_at) == len(scored) else " that were looked at"
        raise UserError(f"{differing:,} of the {len(looked_at):,} answers{of} are not those that were scored; {again}")


def _is_of(task: Task, answer: SavedAnswer, numbers: InstanceNumbers, parity: bool) -> bool:
    """Whether the numbers, but for the judge's, are those of this answer."""
    if hashlib.sha256(answer.reference.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS] != numbers.reference:
        return False
    scored = task.score(answer.prediction, answer.reference, parity)
    own = (len(task.metric.fields) if task.metric else 0) + len(BleuCounts._fields)
    return scored.unreadable == numbers.unreadable and tuple(task.vector(scored)[:own]) == tuple(numbers.vector[:own])
