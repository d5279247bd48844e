"""One card per task: how its answers came out, their lengths and errors, and all numbers; the template adds scores."""

from dataclasses import dataclass

from sciriff.report.answers import Answers
from sciriff.report.bars import histogram
from sciriff.report.error_kinds import ErrorKind, error_kinds, quote_tables
from sciriff.report.errors import ErrorTable, error_tables
from sciriff.report.figures import Figure
from sciriff.report.run_scores import RunScores
from sciriff.results.scores import TaskScores, answers_of
from sciriff.tasks.task import Task

UNREADABLE = {
    "empty": "empty",
    "no_json": "no JSON in it",
    "null": "a plain null",
    "wrong_type": "JSON of another form",
}
"""The words for a task's kinds of unreadable answers; a kind that is not here stands under its own name."""


@dataclass(frozen=True)
class Share:
    """`part` of the `whole` answers; None where it is not known."""

    name: str
    part: int | None
    whole: int
    note: str = ""


@dataclass(frozen=True)
class Card:
    task: Task
    n: int
    """Answers."""
    shares: list[Share]
    lengths: list[Figure]
    errors: list[ErrorTable]
    kinds: list[ErrorKind]
    details: list[tuple[str, str]]
    """(flat name, value) as in scores.json, shares between 0 and 1."""
    has_predictions: bool


def cards(run: RunScores, answers: dict[str, Answers]) -> list[Card]:
    """The cards of a run's tasks, those with scores or answers, in the paper's order."""
    found = []
    parity = run.scores["parity"] == "reference"
    for task in run.held_out:
        scored, given = run.tasks.get(task.name), answers.get(task.name)
        n = answers_of(scored) if scored else len(given.rows) if given else 0
        if scored or given:
            shares = [*(_readable(scored, n) if scored else ()), *(_endings(given) if given else ())]
            lengths = _lengths(given) if given else []
            errors, kinds = _errors(given, parity) if given else ([], [])
            details = [
                (name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
                for name, value in (scored["details"] if scored else {}).items()
            ]
            found.append(Card(task, n, shares, lengths, errors, kinds, details, given is not None))
    return found


def _errors(given: Answers, parity: bool) -> tuple[list[ErrorTable], list[ErrorKind]]:
    tables = error_tables(given.task, [row.matches for row in given.rows if row.matches])
    return [*tables, *quote_tables(given, parity)], error_kinds(given, parity)


def _readable(scored: TaskScores, n: int) -> list[Share]:
    kinds = sorted(scored["unreadable"].items())
    why = ", ".join(f"{count:,} {UNREADABLE.get(kind, kind)}" for kind, count in kinds if count)
    return [Share("readable", round(scored["readable"] * n), n, why)]


def _endings(given: Answers) -> list[Share]:
    whole = len(given.rows)
    shares = [
        Share("prompt was cut", given.truncated, whole),
        Share("answer cut at the limit", given.at_limit, whole),
    ]
    if given.unfinished_thoughts:
        shares.append(Share("thought did not end", given.unfinished_thoughts, whole))
    return [*shares, Share("empty", given.empty, whole)] if given.empty else shares


def _lengths(given: Answers) -> list[Figure]:
    """Histograms of prompts, thoughts and answers, in tokens where the engine counted them, else in characters."""
    rows = [row.answer for row in given.rows]
    written = [(row.output_tokens, row.thought_tokens or 0) for row in rows]
    answers = [max(tokens - thought, 0) for tokens, thought in written if tokens is not None]
    drawn = [
        histogram("Prompt, tokens", given.known("prompt_tokens"))
        or histogram("Prompt, characters", [len(row.prompt) for row in rows if row.prompt]),
        histogram("Thought, tokens", given.known("thought_tokens")) if given.known("thought_tokens") else None,
        histogram("Answer, tokens", answers) or histogram("Answer, characters", [len(row.prediction) for row in rows]),
    ]
    return [figure for figure in drawn if figure is not None]
