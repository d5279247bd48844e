"""What the model answered: each task's predictions with their scores and matches, and the shares that a card shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from sciriff.config import Config
from sciriff.data.saved_answers import SavedAnswer, read_predictions
from sciriff.results.per_instance import InstanceNumbers, read_per_instance
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks import HELD_OUT
from sciriff.tasks.metrics.matches import Matches
from sciriff.tasks.task import Task

Anything = TypeVar("Anything")


@dataclass(frozen=True)
class ShownAnswer:
    """One answer."""

    answer: SavedAnswer
    matches: Matches | None
    """None for a task whose texts are compared whole."""
    unreadable: str | None
    scores: dict[str, float]
    """Its own scores by their short names, in [0, 1]; empty where nobody scored it."""

    @property
    def score(self) -> float | None:
        """What the browser sorts by; None where nothing was expected and nothing was given."""
        return fmean(self.scores.values()) if self.scores else None

    @property
    def at_limit(self) -> bool:
        return self.answer.finish_reason == "length"

    @property
    def truncated(self) -> bool:
        return bool(self.answer.truncated_tokens)


@dataclass(frozen=True)
class Answers:
    """The answers to one task, in the order in which they were asked."""

    task: Task
    rows: list[ShownAnswer]

    @property
    def prompt_tokens(self) -> list[int]:
        """Of the rows whose engine counted."""
        return [row.answer.prompt_tokens for row in self.rows if row.answer.prompt_tokens is not None]

    @property
    def output_tokens(self) -> list[int]:
        return [row.answer.output_tokens for row in self.rows if row.answer.output_tokens is not None]

    @property
    def at_limit(self) -> int | None:
        """Answers that ended because they had as many tokens as they may have; None where nobody knows."""
        known = any(row.answer.finish_reason is not None for row in self.rows)
        return sum(row.at_limit for row in self.rows) if known else None

    @property
    def truncated(self) -> int | None:
        """Prompts that were cut to fit the model; None where nobody knows."""
        known = any(row.answer.truncated_tokens is not None for row in self.rows)
        return sum(row.truncated for row in self.rows) if known else None

    @property
    def empty(self) -> int:
        """Answers without a visible character."""
        return sum(not row.answer.prediction.strip() for row in self.rows)


def read_answers(config: Config, run: RunDir) -> dict[str, Answers]:
    """By task in their order: the rows that the score stage scored, with what it wrote of each.

    Nothing where there are no predictions. UserError names the file that is broken.
    """
    folder = Path(config.predictions) if config.predictions else run.predictions
    if not any(folder.rglob("*.jsonl")):
        return {}
    found = read_predictions(folder, config.eval.tasks, config.allow_missing)
    parity = config.eval.parity == "reference"
    answers = {}
    for task in HELD_OUT:
        if task.name in found:
            path = run.per_instance / f"{task.name}.jsonl"
            numbers = read_per_instance(path, task) if path.is_file() else {}
            rows = [_row(task, answer, numbers.get(answer.key), parity) for answer in found[task.name].answers]
            answers[task.name] = Answers(task, rows)
    return answers


def _row(task: Task, answer: SavedAnswer, numbers: InstanceNumbers | None, parity: bool) -> ShownAnswer:
    try:
        matches = task.matches(answer.prediction, answer.reference, parity)
    except ValueError as error:
        raise UserError(f"{answer.place}: {error}") from None
    if numbers is None:
        return ShownAnswer(answer, matches, None, {})
    return ShownAnswer(answer, matches, numbers.unreadable, own_scores(task, numbers.vector))


def own_scores(task: Task, vector: Sequence[float]) -> dict[str, float]:
    """The scores of one answer by short name: those of the summary's columns, or else the others.

    Left out are those that nothing decides: an F1 with nothing expected and nothing given, a rating that no judge gave.
    The formulas make these 0. They are known by becoming 1 with one right item more, which no other 0 does.
    """
    scores = task.scores_of_sums(vector)
    one_more = task.scores_of_sums([number + 1 for number in vector])
    decided = {
        short: scores[flat]
        for short, flat in task.summary.items()
        if flat in scores and (scores[flat] != 0 or one_more[flat] != 1)
    }
    return {short: decided[short] for short in task.headline if short in decided} or decided


def evenly_spaced(rows: list[Anything], count: int | None) -> list[Anything]:
    """`count` rows from the middles of as many equal parts, in order; all for None or where there are no more."""
    if count is None or count >= len(rows):
        return rows
    return [rows[(2 * place + 1) * len(rows) // (2 * count)] for place in range(count)]
