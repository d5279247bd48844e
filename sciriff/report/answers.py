"""What the model answered: each task's predictions with their scores and matches, and the shares that a card shows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from sciriff.config import Config
from sciriff.data.records import AnswerKey
from sciriff.data.saved_answers import SavedAnswer, read_predictions
from sciriff.results.answer_scores import own_scores
from sciriff.results.per_instance import InstanceNumbers, read_per_instance
from sciriff.run.finish_reasons import UNFINISHED_THOUGHT
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks.metrics.matches import Matches
from sciriff.tasks.own import names_of
from sciriff.tasks.task import Task

Row = TypeVar("Row")


@dataclass(frozen=True)
class ShownAnswer:
    """One answer with its matches, and its scores in [0, 1] by their short names (empty if it was not scored)."""

    answer: SavedAnswer
    matches: Matches | None
    """None for a task whose texts are compared whole."""
    unreadable: str | None = None
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """What the browser sorts by; None if nothing was expected and nothing was given."""
        return fmean(self.scores.values()) if self.scores else None


@dataclass(frozen=True)
class Answers:
    """The answers to one task, in the order of the prompts."""

    task: Task
    rows: list[ShownAnswer]

    def known(self, name: str) -> list[Any]:
        """A field of the saved answers, without those that do not have it."""
        return [value for row in self.rows if (value := getattr(row.answer, name)) is not None]

    @property
    def at_limit(self) -> int | None:
        """Answers that ended at the limit on their tokens; None if it is not known of any."""
        reasons = self.known("finish_reason")
        return reasons.count("length") if reasons else None

    @property
    def unfinished_thoughts(self) -> int:
        """Answers that did not come, since the thought before them did not end."""
        return self.known("finish_reason").count(UNFINISHED_THOUGHT)

    @property
    def truncated(self) -> int | None:
        """Prompts that were cut to fit the model; None if it is not known of any."""
        cuts = self.known("truncated_tokens")
        return sum(map(bool, cuts)) if cuts else None

    @property
    def empty(self) -> int:
        """Answers without a visible character."""
        return sum(not row.answer.prediction.strip() for row in self.rows)


def read_answers(config: Config, run: RunDir) -> dict[str, Answers]:
    """Task -> the scored rows with their scores; empty without predictions. UserError names the file that is broken."""
    folder = Path(config.predictions) if config.predictions else run.predictions
    if not any(folder.rglob("*.jsonl")):
        return {}
    held_out = config.eval.held_out
    wanted = config.predictions_filter
    predictions = read_predictions(folder, config.eval.tasks, config.allow_missing, names_of(held_out), wanted)
    answers = {}
    for task in held_out:
        if task.name in predictions:
            path = run.per_instance / f"{task.name}.jsonl"
            numbers = read_per_instance(path, task) if path.is_file() else {}
            given = predictions[task.name].answers
            answers[task.name] = with_scores(task, given, numbers, config.eval.parity == "reference")
    return answers


def with_scores(
    task: Task, given: Iterable[SavedAnswer], numbers: Mapping[AnswerKey, InstanceNumbers], parity: bool
) -> Answers:
    """Answers with their matches and with what `numbers` say of them. UserError names a reference that is no answer."""
    rows = []
    for answer in given:
        matches, row = _matches(task, answer, parity), numbers.get(answer.key)
        scored = (row.unreadable, own_scores(task, row.vector)) if row else ()
        rows.append(ShownAnswer(answer, matches, *scored))
    return Answers(task, rows)


def _matches(task: Task, answer: SavedAnswer, parity: bool) -> Matches | None:
    try:
        return task.matches(answer.prediction, answer.reference, parity)
    except ValueError as error:
        raise UserError(f"{answer.place}: {error}") from None


def evenly_spaced(rows: list[Row], count: int | None) -> list[Row]:
    """`count` rows from the middles of as many equal parts, in order; all for None or where there are no more."""
    if count is None or count >= len(rows):
        return rows
    return [rows[(2 * place + 1) * len(rows) // (2 * count)] for place in range(count)]
