"""What a held-out task is: how its answers are read, compared and summed up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sciriff.tasks.metrics.answer_end import stripped_as_reference, without_end_marker
from sciriff.tasks.metrics.json_answer import EXTRACT_FAILURE, EXTRACT_SUCCESS, NULL_JSON, VALID_JSON, Reading
from sciriff.tasks.metrics.judge_rating import UNRATED, JudgeCounts, JudgeRule, judge_scores
from sciriff.tasks.metrics.matches import Matches
from sciriff.tasks.metrics.metric import Metric, WrongShape, ratio
from sciriff.tasks.metrics.text_overlap import BleuCounts, bleu

EMPTY = "empty"
NO_JSON = "no_json"
NULL = "null"
WRONG_TYPE = "wrong_type"
UNREADABLE = (EMPTY, NO_JSON, NULL, WRONG_TYPE)
"""Why an answer is not readable: nothing in it; no JSON that can be read; a plain null; JSON, but not what was asked.

The first three count as the task's empty answer. The last does where it cannot be compared; where the reference code
compares it after a fashion (a text where a list is due, by its characters), so do we, or old numbers would not line up.
"""


@dataclass(frozen=True)
class Scored:
    """One answer in numbers that can be summed."""

    status: str
    """What the JSON reader said; valid_json for a task without JSON."""
    unreadable: str | None
    """One of UNREADABLE, or None."""
    counts: tuple[float, ...]
    """Of the task's metric; empty if it has none."""
    bleu: BleuCounts
    judge: JudgeCounts = UNRATED


@dataclass(frozen=True)
class Judged:
    """The part of a task that a judge model rates."""

    rule: JudgeRule
    details: Mapping[str, str]
    """Flat name in the details -> avg_rating or n_samples."""
    answer_field: str | None = None
    """The number of the metric that is 0 where the answer is missing; None where no answer can be."""


@dataclass(frozen=True)
class Task:
    name: str
    summary: Mapping[str, str]
    """Short name of a score -> its flat name in the details."""
    headline: tuple[str, ...]
    """Which of `summary` enter the mean over tasks: its columns."""
    parse: Callable[[str], Reading] | None = None
    """Text of an answer or a reference -> its JSON; None where the text itself is compared."""
    empty: Any = None
    """What an answer that cannot be read counts as."""
    metric: Metric | None = None
    """Beside BLEU, which every task has."""
    parity_metric: Metric | None = None
    """Counts as the reference does where that is not right; the same numbers and scores as `metric`."""
    judged: Judged | None = None
    label: str | None = None
    """Its name in the summary table, where that is not the first word of `name`."""

    @property
    def short_name(self) -> str:
        """Its name in the summary table."""
        return self.label or self.name.split("_")[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns in the summary, `<task>/<short name>`."""
        return tuple(f"{self.name}/{name}" for name in self.headline)

    @property
    def judged_columns(self) -> tuple[str, ...]:
        """Those of its columns that come from a judge."""
        flat = self.judged.details if self.judged else {}
        return tuple(f"{self.name}/{name}" for name in self.headline if self.summary[name] in flat)

    def rules_part(self, prediction: str) -> bool:
        """Whether the two values of `parity` may score an answer otherwise."""
        return self.parity_metric is not None or stripped_as_reference(prediction) != without_end_marker(prediction)

    def score(self, prediction: str, reference: str, parity: bool = False) -> Scored:
        """One answer against its reference, both as text. ValueError if the reference cannot be used.

        `parity` follows the reference code into its traps, too.
        """
        answer = _without_end(prediction, parity)
        overlap = bleu.count(answer, reference)
        metric = self.parity_metric if parity and self.parity_metric else self.metric
        if self.parse is None:
            counts = metric.count(answer, reference) if metric else ()
            return Scored(VALID_JSON, None if answer.strip() else EMPTY, counts, overlap)

        assert metric is not None
        expected = self.parse(reference)
        if expected.value is None:
            raise ValueError(f"the reference is not the JSON that {self.name} needs: {reference[:80]!r}")
        status, unreadable, value = self._read(answer)
        try:
            counts = metric.count(value, expected.value)
            if not metric.in_form(value):
                unreadable = WRONG_TYPE
        except WrongShape:
            unreadable = WRONG_TYPE
            counts = metric.count(self.empty, expected.value)  # raises again where the reference is what is wrong
        return Scored(status, unreadable, counts, overlap)

    def _read(self, answer: str) -> tuple[str, str | None, Any]:
        """What the JSON reader said of an answer, why it is unreadable (or None), and the value that it counts as."""
        assert self.parse is not None
        found = self.parse(answer)
        unreadable = {EXTRACT_FAILURE: NO_JSON if answer.strip() else EMPTY, NULL_JSON: NULL}.get(found.status)
        return found.status, unreadable, self.empty if unreadable else found.value

    def matches(self, prediction: str, reference: str, parity: bool = False) -> Matches | None:
        """What `score` counts, item by item; None for a task whose texts are compared whole."""
        if self.parse is None or self.metric is None or self.metric.matches is None:
            return None
        expected = self.parse(reference).value
        _, _, value = self._read(_without_end(prediction, parity))
        try:
            return self.metric.matches(value, expected)
        except WrongShape:
            return self.metric.matches(self.empty, expected)

    def answer_is_missing(self, scored: Scored) -> bool:
        """Whether there is nothing that a judge could rate."""
        where = self.judged.answer_field if self.judged else None
        return where is not None and getattr(scored.counts, where) == 0

    def details(self, scored: Sequence[Scored]) -> dict[str, float]:
        """All scores of some answers, by the flat names of the reference code.

        What comes from JSON stands twice: over all answers, and over those where some JSON (or null) was found.
        """
        values = self.scores_of_sums(self.sums(scored))
        if self.judged is not None and not any(row.judge.rated for row in scored):
            values = {flat: value for flat, value in values.items() if flat not in self.judged.details}
        if self.parse is None:
            return values
        found = self.sums([row for row in scored if row.status != EXTRACT_FAILURE])
        parsed = sum(row.status in (VALID_JSON, EXTRACT_SUCCESS) for row in scored)
        return {**self._metric_scores(found, "valid_json_"), **values, "json_parsed": ratio(parsed, len(scored))}

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the numbers in a vector."""
        return (*(self.metric.fields if self.metric else ()), *BleuCounts._fields, *JudgeCounts._fields)

    def vector(self, scored: Scored) -> tuple[float, ...]:
        """All numbers of one answer, one per field."""
        return (*scored.counts, *scored.bleu, *scored.judge)

    def sums(self, scored: Sequence[Scored]) -> tuple[float, ...]:
        """The vectors of some answers, added up."""
        return tuple(map(sum, zip(*map(self.vector, scored), strict=True))) if scored else (0,) * len(self.fields)

    def scores_of_sums(self, sums: Sequence[float]) -> dict[str, float]:
        """The scores over all answers, by flat name, from their vectors' sums; those of a judge are 0 if it rated none.

        `sums` may hold arrays, one element for each resample; so do the scores then.
        """
        split = len(self.fields) - len(BleuCounts._fields) - len(JudgeCounts._fields)
        end = split + len(BleuCounts._fields)
        values = self._metric_scores(sums, "" if self.parse is None else "all_")
        values |= bleu.scores(BleuCounts(*sums[split:end]))
        judge = JudgeCounts(*sums[end:])
        if self.judged is not None:
            rating = judge_scores(judge)
            values |= {flat: rating[name] for flat, name in self.judged.details.items()}
        return values

    def column_scores(self, sums: Sequence[float]) -> dict[str, float]:
        """Of scores_of_sums those that are columns of the summary, `<task>/<short name>`."""
        scores = self.scores_of_sums(sums)
        return {column: scores[self.summary[name]] for column, name in zip(self.columns, self.headline, strict=True)}

    def _metric_scores(self, sums: Sequence[float], prefix: str) -> dict[str, float]:
        if self.metric is None:
            return {}
        scores = self.metric.scores(self.metric.numbers(*sums[: len(self.metric.fields)]))
        return {prefix + name: value for name, value in scores.items()}


def _without_end(prediction: str, parity: bool) -> str:
    return stripped_as_reference(prediction) if parity else without_end_marker(prediction)
