"""Task: how the answers to a held-out task are parsed, compared with the reference and aggregated into scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sciriff.tasks.metrics.answer_end import end_differs, without_end
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
"""Why an answer is unreadable: it is empty; it has no valid JSON; it is null; it is JSON of the wrong type.

The first three count as the task's empty answer. So does the last where it cannot be compared; where the reference code
does compare it (a string in place of a list, by its characters), so do we, to stay comparable with published numbers.
"""


@dataclass(frozen=True)
class Scored:
    """Additive counts of one answer."""

    status: str
    """Status of the JSON reader; valid_json for a task without JSON."""
    unreadable: str | None
    """One of UNREADABLE; None for a readable answer."""
    counts: tuple[float, ...]
    """Counts of the task's metric; empty if it has none."""
    bleu: BleuCounts
    judge: JudgeCounts = UNRATED


@dataclass(frozen=True)
class JudgedPart:
    """The part of a task that a judge model rates."""

    rule: JudgeRule
    details: Mapping[str, str]
    """Flat name in the details -> avg_rating or n_samples."""
    answer_field: str | None = None
    """The metric's count that is 0 for a missing answer; None where an answer cannot be missing."""


@dataclass(frozen=True)
class Task:
    name: str
    summary: Mapping[str, str]
    """Short name of a score -> its flat name in the details."""
    headline: tuple[str, ...]
    """Names in `summary` that are columns of the summary table and enter the mean over tasks."""
    parse: Callable[[str], Reading] | None = None
    """Reads the JSON in an answer or a reference; None where the text itself is compared."""
    empty: Any = None
    """Value that an unreadable answer counts as."""
    metric: Metric | None = None
    """Metric in addition to BLEU, which every task has."""
    parity_metric: Metric | None = None
    """Variant of `metric` with the reference code's errors; the same counts and scores."""
    judged: JudgedPart | None = None
    label: str | None = None
    """Name in the summary table; None takes the first word of `name`."""
    strict: bool = False
    """Whether a reference must have the form that is asked of answers. Some of SciRIFF's are compared as they are."""

    @property
    def short_name(self) -> str:
        return self.label or self.name.split("_")[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the task in the summary, `<task>/<short name>`."""
        return tuple(self.flat_names)

    @property
    def flat_names(self) -> dict[str, str]:
        """Column of the summary -> its flat name in the details."""
        return {f"{self.name}/{name}": self.summary[name] for name in self.headline}

    @property
    def judged_columns(self) -> tuple[str, ...]:
        return tuple(column for column, flat in self.flat_names.items() if self.judged and flat in self.judged.details)

    def parity_matters(self, prediction: str) -> bool:
        """Whether an answer may score differently under the two values of `parity`."""
        return self.parity_metric is not None or end_differs(prediction)

    def score(self, prediction: str, reference: str, parity: bool = False) -> Scored:
        """Score one answer against its reference, both as text. ValueError if the reference cannot be parsed. `parity`
        reproduces the reference code's errors, too."""
        answer = without_end(prediction, parity)
        overlap = bleu.count(answer, reference)
        metric = self.parity_metric if parity and self.parity_metric else self.metric
        if self.parse is None:
            counts = metric.count(answer, reference) if metric else ()
            return Scored(VALID_JSON, None if answer.strip() else EMPTY, counts, overlap)

        assert metric is not None
        expected = self.parse(reference)
        if expected.value is None:
            raise ValueError(f"the reference is not the JSON that {self.name} needs: {reference[:80]!r}")
        if self.strict and not metric.in_form(expected.value):
            raise ValueError(f"the reference has not the form that {self.name} needs: {reference[:80]!r}")
        status, unreadable, value = self._read(answer)
        try:
            counts = metric.count(value, expected.value)
            if not metric.in_form(value):
                unreadable = WRONG_TYPE
        except WrongShape:
            unreadable = WRONG_TYPE
            counts = metric.count(self.empty, expected.value)  # raises again if it is the reference that is wrong
        return Scored(status, unreadable, counts, overlap)

    def _read(self, answer: str) -> tuple[str, str | None, Any]:
        """(status of the JSON reader, why the answer is unreadable or None, the value it counts as)."""
        assert self.parse is not None
        found = self.parse(answer)
        unreadable = {EXTRACT_FAILURE: NO_JSON if answer.strip() else EMPTY, NULL_JSON: NULL}.get(found.status)
        return found.status, unreadable, self.empty if unreadable else found.value

    def matches(self, prediction: str, reference: str, parity: bool = False) -> Matches | None:
        """The items that `score` counts; None for a task whose texts are compared whole."""
        if self.parse is None or self.metric is None or self.metric.matches is None:
            return None
        expected = self.parse(reference).value
        _, _, value = self._read(without_end(prediction, parity))
        try:
            return self.metric.matches(value, expected)
        except WrongShape:
            return self.metric.matches(self.empty, expected)

    def answer_is_missing(self, scored: Scored) -> bool:
        """Whether there is no answer for the judge to rate."""
        field = self.judged.answer_field if self.judged else None
        return field is not None and getattr(scored.counts, field) == 0

    def details(self, scored: Sequence[Scored]) -> dict[str, float]:
        """All scores of a set of answers, under the reference code's flat names.

        Scores of parsed answers appear twice: over all answers (`all_*`), and over those in which JSON or null was
        found (`valid_json_*`).
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
        """Names of the numbers in `vector`."""
        return (*(self.metric.fields if self.metric else ()), *BleuCounts._fields, *JudgeCounts._fields)

    def vector(self, scored: Scored) -> tuple[float, ...]:
        """All counts of one answer, in the order of `fields`."""
        return (*scored.counts, *scored.bleu, *scored.judge)

    def sums(self, scored: Sequence[Scored]) -> tuple[float, ...]:
        """The vectors of some answers, added up."""
        return tuple(map(sum, zip(*map(self.vector, scored), strict=True))) if scored else (0,) * len(self.fields)

    def scores_of_sums(self, sums: Sequence[float]) -> dict[str, float]:
        """Scores over all answers by flat name, from the sums of their vectors; a judge's are 0 if it rated none.
        `sums` may hold arrays with one element per resample; the scores are then arrays, too."""
        split = len(self.metric.fields) if self.metric else 0
        end = split + len(BleuCounts._fields)
        values = self._metric_scores(sums, "" if self.parse is None else "all_")
        values |= bleu.scores(BleuCounts(*sums[split:end]))
        if self.judged is not None:
            rating = judge_scores(JudgeCounts(*sums[end:]))
            values |= {flat: rating[name] for flat, name in self.judged.details.items()}
        return values

    def _metric_scores(self, sums: Sequence[float], prefix: str) -> dict[str, float]:
        if self.metric is None:
            return {}
        scores = self.metric.scores(self.metric.numbers(*sums[: len(self.metric.fields)]))
        return {prefix + name: value for name, value in scores.items()}
