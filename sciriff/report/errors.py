"""Which errors the answers to a task have: items by mark and type, fields of findings, labels against each other."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sciriff.tasks.metrics.claim_f1 import claim_f1
from sciriff.tasks.metrics.entity_f1 import entity_f1
from sciriff.tasks.metrics.list_f1 import list_f1
from sciriff.tasks.metrics.matches import MATCH, PARTLY, SPURIOUS, Item, Matches
from sciriff.tasks.metrics.qa_f1 import qa_f1
from sciriff.tasks.metrics.tuple_f1 import FIELDS, any_tuple_f1, tuple_f1
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
    """The tables of a task; empty without answers, and for a task whose texts are compared whole."""
    if not answers:
        return []
    if task is MULTICITE:
        caption = "Labels. Each missed one is counted beside each spurious one of the same answer"
        return [_confusion(caption, answers)]
    if task.metric is entity_f1:
        return [_by_type(answers)]
    if task.metric is tuple_f1:
        return _findings(answers)
    if task.metric is any_tuple_f1:
        return [_totals("Tuples, matched by shared words", answers, partly=True)]
    if task.metric is claim_f1:
        evidence, verdicts = ([_of_kind(matches, kind) for matches in answers] for kind in ("evidence", "verdict"))
        return [_confusion("Verdicts", verdicts), _totals("Sentences of evidence", evidence)]
    if task.metric is list_f1:
        return [_totals("Items of the lists", answers)]
    return [_parts(answers)] if task.metric is qa_f1 else []


def _of_kind(matches: Matches, kind: str) -> Matches:
    sides = (matches.answer, matches.reference)
    return Matches(*(tuple(item for item in items if item.kind == kind) for items in sides))


def _counted(answers: Sequence[Matches]) -> defaultdict[str, Counter[str]]:
    """Column -> kind -> items: of the references the `expected` ones and those with each mark (a match is `right`), of
    the answers the `given` and the `spurious` ones."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for matches in answers:
        for item in matches.reference:
            counts["expected"][item.kind] += 1
            counts["right" if item.mark == MATCH else item.mark][item.kind] += 1
        for item in matches.answer:
            counts["given"][item.kind] += 1
            counts[SPURIOUS][item.kind] += item.mark == SPURIOUS
    return counts


def _by_type(answers: Sequence[Matches]) -> ErrorTable:
    """Entities: one row per type, those of the references first, the most frequent first."""
    counts = _counted(answers)
    expected, given = counts["expected"], counts["given"]
    kinds = sorted({*expected, *given}, key=lambda kind: (-expected[kind], -given[kind], kind))
    named = kinds if len(kinds) <= MOST else kinds[: MOST - 1]
    groups = [(kind or "(no name)", [kind]) for kind in named]
    if rarer := kinds[len(named) :]:
        groups.append((f"{len(rarer)} more", rarer))
    columns = ("expected", "right", "missed", "wrong type", "spurious")
    rows = [
        (name, tuple(sum(counts[column][kind] for kind in group) for column in columns))
        for name, group in [*groups, ("all", kinds)]
    ]
    return ErrorTable("Entities by type", "Type", columns, tuple(rows))


def _totals(caption: str, answers: Sequence[Matches], *, partly: bool = False) -> ErrorTable:
    counts = _counted(answers)
    columns = ("expected", "right", *(["partly"] if partly else []), "missed", "spurious")
    return ErrorTable(caption, "", columns, (("all", tuple(counts[column].total() for column in columns)),))


def _findings(answers: Sequence[Matches]) -> list[ErrorTable]:
    """How many findings are right, and which fields keep the others from it."""
    tables = [_totals("Findings, matched by shared words", answers, partly=True)]
    partly = [item for matches in answers for item in matches.answer if item.mark == PARTLY]
    if partly:
        agree = [sum(item.fields[place][1] for item in partly) for place in range(len(FIELDS))]
        rows = tuple((name, (count, len(partly) - count)) for name, count in zip(FIELDS, agree, strict=True))
        caption = "Fields of those that are partly right, beside the nearest finding"
        tables.append(ErrorTable(caption, "Field", ("agree", "unmatched"), rows))
    return tables


def _confusion(caption: str, answers: Sequence[Matches]) -> ErrorTable:
    """Expected labels against given ones; `(none)` stands for the missing label where one side has fewer."""
    expected = Counter(item.text for matches in answers for item in matches.reference)
    labels = sorted(expected, key=lambda label: (-expected[label], label))[:MOST]

    def named(items: tuple[Item, ...], matched: bool) -> list[Label]:
        texts = [item.text for item in items if (item.mark == MATCH) == matched]
        return [text if text in labels else End.OTHER for text in texts]

    pairs: Counter[tuple[Label, Label]] = Counter()
    for matches in answers:
        pairs.update((label, label) for label in named(matches.reference, matched=True))
        missed, spurious = named(matches.reference, matched=False), named(matches.answer, matched=False)
        if missed or spurious:
            nothing: list[Label] = [End.NOTHING]
            pairs.update((due, given) for due in missed or nothing for given in spurious or nothing)
    rows: list[Label] = [*labels, *(end for end in End if any(due is end for due, _ in pairs))]
    columns: list[Label] = [*labels, *(end for end in End if any(given is end for _, given in pairs))]
    lines = tuple((_word(due), tuple(pairs[due, given] for given in columns)) for due in rows)
    return ErrorTable(caption, "expected ↓ given →", tuple(map(_word, columns)), lines, confusion=True)


def _word(label: Label) -> str:
    return label.value if isinstance(label, End) else label


def _parts(answers: Sequence[Matches]) -> ErrorTable:
    """Which parts of an answer were expected and which were given; how good they are is for the scores to say."""
    rows = []
    for part in ("answer", "evidence"):
        chosen = [_of_kind(matches, part) for matches in answers]
        due, given = sum(bool(found.reference) for found in chosen), sum(bool(found.answer) for found in chosen)
        both = sum(bool(found.reference and found.answer) for found in chosen)
        rows.append((part, (due, both, due - both, given - both)))
    return ErrorTable("Parts of the answers", "Part", ("expected", "given", "missed", "spurious"), tuple(rows))
