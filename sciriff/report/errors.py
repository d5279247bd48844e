"""Which errors the answers to a task have: items by mark and type, fields of findings, labels against each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sciriff.tasks.metrics.claim_f1 import claim_f1
from sciriff.tasks.metrics.entity_f1 import entity_f1
from sciriff.tasks.metrics.list_f1 import list_f1
from sciriff.tasks.metrics.matches import MATCH, MISSED, PARTLY, SPURIOUS, WRONG_TYPE, Item, Matches
from sciriff.tasks.metrics.qa_f1 import qa_f1
from sciriff.tasks.metrics.tuple_f1 import FIELDS, tuple_f1
from sciriff.tasks.multicite import MULTICITE
from sciriff.tasks.task import Task

MOST = 8
"""Types or labels that have a line of their own; the rarer ones share one. Models invent types without end."""


class End(Enum):
    """What a confusion matrix has beside the labels, which may themselves be called so."""

    OTHER = "(other)"
    NOTHING = "(none)"


Label = str | End


@dataclass(frozen=True)
class ErrorTable:
    """Counts in rows and columns. `confusion` has what was expected in its rows and what was given in its columns."""

    caption: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    confusion: bool = False


def error_tables(task: Task, answers: Sequence[Matches]) -> list[ErrorTable]:
    """The tables of a task; none for one whose texts are compared whole, or without answers."""
    if not answers:
        return []
    if task.metric is entity_f1:
        return [_by_kind("Entities by type", "Type", answers)]
    if task.metric is tuple_f1:
        return _findings(answers)
    if task.metric is claim_f1:
        evidence = [Matches(_of_kind(m.answer, "evidence"), _of_kind(m.reference, "evidence")) for m in answers]
        verdicts = [Matches(_of_kind(m.answer, "verdict"), _of_kind(m.reference, "verdict")) for m in answers]
        return [_confusion("Verdicts", verdicts), _in_all("Sentences of evidence", evidence)]
    if task is MULTICITE:
        caption = "Labels. Each missed one is counted beside each spurious one of the same answer"
        return [_confusion(caption, answers)]
    if task.metric is list_f1:
        return [_in_all("Items of the lists", answers)]
    if task.metric is qa_f1:
        return [_absent(answers)]
    return []


def _of_kind(items: tuple[Item, ...], kind: str) -> tuple[Item, ...]:
    return tuple(item for item in items if item.kind == kind)


def _counted(answers: Sequence[Matches]) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """(kind, mark) -> how many items of the answers, and of the references."""
    given = Counter((item.kind, item.mark) for found in answers for item in found.answer)
    due = Counter((item.kind, item.mark) for found in answers for item in found.reference)
    return given, due


def _by_kind(caption: str, corner: str, answers: Sequence[Matches]) -> ErrorTable:
    """One row per type: those of the references first, the most frequent first."""
    given, due = _counted(answers)
    expected, found = _sums(due), _sums(given)
    kinds = sorted({kind for kind, _ in (*given, *due)}, key=lambda kind: (-expected[kind], -found[kind], kind))
    named = kinds if len(kinds) <= MOST else kinds[: MOST - 1]
    groups = [(kind or "(no name)", [kind]) for kind in named]
    if len(kinds) > MOST:
        groups.append((f"{len(kinds) - len(named)} more", kinds[len(named) :]))
    rows = []
    for name, group in [*groups, ("all", kinds)]:
        counts = (
            sum(expected[kind] for kind in group),
            sum(due[kind, MATCH] for kind in group),
            sum(due[kind, MISSED] for kind in group),
            sum(due[kind, WRONG_TYPE] for kind in group),
            sum(given[kind, SPURIOUS] for kind in group),
        )
        rows.append((name, counts))
    return ErrorTable(caption, corner, ("expected", "right", "missed", "wrong type", "spurious"), tuple(rows))


def _sums(counted: Counter[tuple[str, str]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for (kind, _), count in counted.items():
        sums[kind] += count
    return sums


def _in_all(caption: str, answers: Sequence[Matches]) -> ErrorTable:
    given, due = (Counter(mark for (_, mark) in side.elements()) for side in _counted(answers))
    counts = (due.total(), due[MATCH], due[MISSED], given[SPURIOUS])
    return ErrorTable(caption, "", ("expected", "right", "missed", "spurious"), (("all", counts),))


def _findings(answers: Sequence[Matches]) -> list[ErrorTable]:
    """How many findings are right, and which fields keep the others from it."""
    given, due = (Counter(mark for (_, mark) in side.elements()) for side in _counted(answers))
    counts = (due.total(), due[MATCH], due[PARTLY], due[MISSED], given[SPURIOUS])
    columns = ("expected", "right", "partly", "missed", "spurious")
    whole = ErrorTable("Findings, matched by shared words", "", columns, (("all", counts),))
    partly = [item for found in answers for item in found.answer if item.mark == PARTLY]
    if not partly:
        return [whole]
    rows = []
    for place, name in enumerate(FIELDS):
        agree = sum(item.fields[place][1] for item in partly)
        rows.append((name, (agree, len(partly) - agree)))
    caption = "Fields of those that are partly right, beside the nearest finding"
    return [whole, ErrorTable(caption, "Field", ("agree", "unmatched"), tuple(rows))]


def _confusion(caption: str, answers: Sequence[Matches]) -> ErrorTable:
    """Labels that were expected against those that were given; `(none)` stands where one side has no more."""
    pairs: Counter[tuple[Label, Label]] = Counter()
    for found in answers:
        missed = [item.text for item in found.reference if item.mark != MATCH]
        spurious = [item.text for item in found.answer if item.mark != MATCH]
        pairs.update((item.text, item.text) for item in found.reference if item.mark == MATCH)
        if missed or spurious:
            nothing: list[Label] = [End.NOTHING]
            pairs.update((due, given) for due in missed or nothing for given in spurious or nothing)
    expected = Counter(item.text for found in answers for item in found.reference)
    labels = sorted(expected, key=lambda label: (-expected[label], label))[:MOST]
    named = (*labels, *End)
    merged: Counter[tuple[Label, Label]] = Counter()
    for (due, given), count in pairs.items():
        merged[_named(due, labels), _named(given, labels)] += count
    rows = [label for label in named if label in labels or any(due == label for due, _ in merged)]
    columns = [label for label in named if label in labels or any(given == label for _, given in merged)]
    lines = tuple((_word(due), tuple(merged[due, given] for given in columns)) for due in rows)
    return ErrorTable(caption, "expected ↓ given →", tuple(map(_word, columns)), lines, confusion=True)


def _named(label: Label, labels: list[str]) -> Label:
    return label if label in labels or isinstance(label, End) else End.OTHER


def _word(label: Label) -> str:
    return label.value if isinstance(label, End) else label


def _absent(answers: Sequence[Matches]) -> ErrorTable:
    """Which parts of an answer were expected and which were given; how good they are is for the scores to say."""
    rows = []
    for part in ("answer", "evidence"):
        due = [bool(_of_kind(found.reference, part)) for found in answers]
        given = [bool(_of_kind(found.answer, part)) for found in answers]
        both = sum(d and g for d, g in zip(due, given, strict=True))
        rows.append((part, (sum(due), both, sum(due) - both, sum(given) - both)))
    return ErrorTable("Parts of the answers", "Part", ("expected", "given", "missed", "spurious"), tuple(rows))
