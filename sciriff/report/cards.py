"""One card per task: its scores beside those of other runs, how its answers came out, their lengths and errors."""

from dataclasses import dataclass

from sciriff.report.answers import Answers
from sciriff.report.bars import histogram
from sciriff.report.errors import ErrorTable, error_tables
from sciriff.report.figures import Figure
from sciriff.report.run_scores import RunScores
from sciriff.results.scores import ColumnScore, answers_of
from sciriff.tasks import HELD_OUT

UNREADABLE = {
    "empty": "empty",
    "no_json": "no JSON in it",
    "null": "a plain null",
    "wrong_type": "JSON of another form",
}
"""The words for a task's kinds of unreadable answers; a kind that is not here stands under its own name."""

Detail = tuple[str, str]


@dataclass(frozen=True)
class CardScore:
    """One column of the summary."""

    metric: str
    score: ColumnScore | None
    others: list[tuple[str, ColumnScore | None]]
    """(run, its score) of the runs beside."""


@dataclass(frozen=True)
class Share:
    """Some of the answers; `part` is None where nobody knows."""

    name: str
    part: int | None
    whole: int
    note: str = ""


@dataclass(frozen=True)
class Card:
    task: str
    short_name: str
    n: int
    """Answers."""
    scores: list[CardScore]
    shares: list[Share]
    lengths: list[Figure]
    errors: list[ErrorTable]
    details: list[Detail]
    shown: bool
    """Whether the browser has its predictions."""


def cards(runs: list[RunScores], answers: dict[str, Answers]) -> list[Card]:
    """The cards of the first run's tasks, those with scores or answers, in the paper's order."""
    own, *beside = runs
    found = []
    for task in HELD_OUT:
        scored, given = own.tasks.get(task.name), answers.get(task.name)
        if scored is None and given is None:
            continue
        n = answers_of(scored) if scored else len(given.rows) if given else 0
        shares = []
        if scored:
            kinds = sorted(scored["unreadable"].items())
            why = ", ".join(f"{count:,} {UNREADABLE.get(kind, kind)}" for kind, count in kinds if count)
            shares.append(Share("readable", round(scored["readable"] * n), n, why))
        if given:
            shares.append(Share("prompt was cut", given.truncated, len(given.rows)))
            shares.append(Share("answer cut at the limit", given.at_limit, len(given.rows)))
            if given.empty:
                shares.append(Share("empty", given.empty, len(given.rows)))
        found.append(
            Card(
                task=task.name,
                short_name=task.short_name,
                n=n,
                scores=[
                    CardScore(
                        name,
                        own.columns.get(column),
                        [(run.name, run.columns.get(column)) for run in beside],
                    )
                    for name, column in zip(task.headline, task.columns, strict=True)
                ],
                shares=shares,
                lengths=_lengths(given) if given else [],
                errors=error_tables(task, [row.matches for row in given.rows if row.matches]) if given else [],
                details=[_detail(name, value) for name, value in scored["details"].items()] if scored else [],
                shown=given is not None,
            )
        )
    return found


def _lengths(given: Answers) -> list[Figure]:
    """Prompts and answers, in tokens where the engine counted them, else in characters."""
    rows = [row.answer for row in given.rows]
    drawn = [
        histogram("Prompt, tokens", given.prompt_tokens)
        or histogram("Prompt, characters", [len(row.prompt) for row in rows if row.prompt]),
        histogram("Answer, tokens", given.output_tokens)
        or histogram("Answer, characters", [len(row.prediction) for row in rows]),
    ]
    return [figure for figure in drawn if figure is not None]


def _detail(name: str, value: int | float) -> Detail:
    """A flat name of the details and its value; shares stay between 0 and 1 here, as in scores.json."""
    return name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
