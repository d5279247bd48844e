"""The answers to a task grouped by what is wrong with them, with examples: unreadable ones by why, readable ones by
the kinds of wrong items in them, and quotes that the prompt does not have."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sciriff.report.answers import Answers, ShownAnswer
from sciriff.report.errors import ErrorTable
from sciriff.report.quotes import Found, search
from sciriff.run.finish_reasons import UNFINISHED_THOUGHT
from sciriff.run.visible import visible, visible_line
from sciriff.tasks.metrics.answer_end import without_end
from sciriff.tasks.metrics.claim_f1 import claim_f1
from sciriff.tasks.metrics.entity_f1 import entity_f1
from sciriff.tasks.metrics.list_f1 import list_f1
from sciriff.tasks.metrics.matches import MATCH, MISSED, PARTLY, SPURIOUS, WRONG_TYPE, Matches
from sciriff.tasks.metrics.normalise import flat_elements
from sciriff.tasks.metrics.qa_f1 import qa_f1
from sciriff.tasks.metrics.tuple_f1 import FIELDS, any_tuple_f1, tuple_f1
from sciriff.tasks.multicite import MULTICITE
from sciriff.tasks.task import EMPTY, NULL, Task
from sciriff.tasks.task import WRONG_TYPE as OTHER_FORM

EXAMPLES = 3
"""Answers of each kind that are linked."""
LONGEST = 60
"""Characters shown of an item and of an id."""
LONGEST_ID = 300
"""Characters of an id that a link may have."""
EVIDENCE = "evidence"
REFUSAL = re.compile(
    r"\W*(?:(?:i['’]?m|i am|we are)(?: very| so)? (?:sorry|unable|not able)|sorry[,.]|as an ai\b|unfortunately,? i\b"
    r"|i (?:cannot|can['’]?t|won['’]?t|will not)\b)",
    re.IGNORECASE,
)
"""Beginning of an answer that declines. Looked for where an answer is not readable, and where any text is readable."""

SKIPPED, REFUSED, NOTHING = "not asked, since the prompt is too long", "refused", "empty"
UNFINISHED = "its thought did not end"
CUT, PLAIN_NULL, FORM, NO_JSON = "cut off at the limit", "a plain null", "JSON of another form", "no JSON in it"
FIELD_MISSING, FIELD_UNKNOWN = "a field is missing", "a field that was not asked for"
TUPLE_LENGTH = "a finding without its five fields"
TYPE_UNKNOWN = "a type that no reference has"
LABEL_UNKNOWN = "a label that no reference has"
NOT_THERE, UNSUPPORTED = "spurious, and not in the prompt", "unsupported: evidence that is not in the prompt"
KINDS = (
    *(SKIPPED, REFUSED, UNFINISHED, NOTHING, CUT, PLAIN_NULL, FORM, NO_JSON),
    *(FIELD_MISSING, FIELD_UNKNOWN, TUPLE_LENGTH),
)
"""Kinds of unreadable answers and wrong forms, in the order of the table; those of items follow."""


@dataclass(frozen=True)
class Example:
    """An answer with an error."""

    name: str
    """Its id without the task, and the number of the sample."""
    link: str
    """To the answer in the page's browser; empty where the id is too long for it."""
    text: str
    """The wrong item, if the error is one."""


@dataclass(frozen=True)
class ErrorKind:
    """One kind of error in the answers to a task."""

    name: str
    items: int | None
    """Wrong items; None for a kind of whole answers."""
    answers: int
    examples: list[Example]


def error_kinds(given: Answers, parity: bool = False) -> list[ErrorKind]:
    """The kinds of errors that occur: those of whole answers first, then the more frequent ones. `parity` is that of
    the scores."""
    found: defaultdict[str, list[tuple[ShownAnswer, list[str]]]] = defaultdict(list)
    known = _known(given)
    for row in given.rows:
        errors: defaultdict[str, list[str]] = defaultdict(list)
        for kind, text in _errors(given.task, row, known, parity):
            errors[kind].append(text)
        for kind, texts in errors.items():
            found[kind].append((row, texts))
    kinds = [
        ErrorKind(
            kind,
            None if kind in KINDS else sum(len(texts) for _, texts in rows),
            len(rows),
            [_example(given.task, row, texts[0]) for row, texts in rows[:EXAMPLES]],
        )
        for kind, rows in found.items()
    ]
    return sorted(kinds, key=lambda kind: (_place(kind.name), -kind.answers, kind.name))


def quote_tables(given: Answers, parity: bool = False) -> list[ErrorTable]:
    """How many quotes of evidence stand in the prompt, of the answers and, to show how well such a search works, of the
    references; empty for a task that asks for none."""
    ours: Counter[Found] = Counter()
    theirs: Counter[Found] = Counter()
    for row in given.rows:
        for text, counts in ((row.answer.prediction, ours), (row.answer.reference, theirs)):
            end = text if counts is theirs else without_end(text, parity)
            if counts is ours and row.unreadable:
                continue
            counts.update(found for _, found in _quotes(given.task, row, _value(given.task, end)))
    if not (ours or theirs):
        return []
    rows = tuple(
        (name, (counts.total(), *(counts[found] for found in Found)))
        for name, counts in (("answers", ours), ("references", theirs))
    )
    return [ErrorTable("Evidence, searched in the prompt", "", ("quotes", *(found.value for found in Found)), rows)]


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _known(given: Answers) -> frozenset[str]:
    """Types of entities, labels or verdicts that some reference has."""
    items = (item for row in given.rows if row.matches for item in row.matches.reference)
    if given.task.metric is entity_f1:
        return frozenset(item.kind for item in items)
    return frozenset(item.text for item in items if item.kind in ("", "verdict"))


def _errors(task: Task, row: ShownAnswer, known: frozenset[str], parity: bool) -> Iterator[tuple[str, str]]:
    """(kind, wrong item or an empty text) of each error in one answer."""
    why = _whole(task, row)
    if why is not None:
        yield why, ""
    # the items of an unreadable answer are those of the task's empty one
    if row.unreadable or row.matches is None:
        return
    matches = row.matches
    value = (
        _value(task, without_end(row.answer.prediction, parity)) if task.metric in (claim_f1, qa_f1, tuple_f1) else None
    )
    if task.metric is entity_f1:
        yield from _entity_errors(row, matches, known)
    elif task.metric is claim_f1:
        yield from _field_errors(task, row, value)
        yield from _claim_errors(matches, known)
    elif task.metric is qa_f1:
        yield from _field_errors(task, row, value)
        given, due = ({item.kind: item.text for item in items} for items in (matches.answer, matches.reference))
        yield from ((f"missed {part}", text) for part, text in due.items() if part not in given)
        yield from ((f"spurious {part}", text) for part, text in given.items() if part not in due)
    elif task.metric in (tuple_f1, any_tuple_f1):
        yield from _tuple_errors(task, matches, value)
    elif task.metric is list_f1:
        labels = task is MULTICITE
        yield from (("missed", item.text) for item in matches.reference if item.mark == MISSED)
        for item in matches.answer:
            if item.mark == SPURIOUS:
                yield (LABEL_UNKNOWN if labels and item.text not in known else "spurious"), item.text
    yield from ((UNSUPPORTED, text) for text, found in _quotes(task, row, value) if found is Found.UNSUPPORTED)


def _whole(task: Task, row: ShownAnswer) -> str | None:
    """What is wrong with an answer as a whole; None if it was read and is no refusal."""
    ended, text = row.answer.finish_reason, row.answer.prediction
    unread = row.unreadable is not None
    if ended == "skipped":
        return SKIPPED
    if ended in ("refusal", "content_filter") or ((unread or task.parse is None) and REFUSAL.match(text)):
        return REFUSED
    if ended == UNFINISHED_THOUGHT:
        return UNFINISHED
    if row.unreadable == EMPTY or not text.strip():
        return NOTHING
    if ended == "length":
        return CUT
    return {NULL: PLAIN_NULL, OTHER_FORM: FORM}.get(str(row.unreadable), NO_JSON) if unread else None


def _entity_errors(row: ShownAnswer, matches: Matches, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    yield from (("missed", item.text) for item in matches.reference if item.mark == MISSED)
    for item in matches.answer:
        if item.kind not in known:
            yield TYPE_UNKNOWN, f"{item.kind}: {item.text}"
        elif item.mark == WRONG_TYPE:
            yield "wrong type", f"{item.kind}: {item.text}"
        if item.mark == SPURIOUS:
            there = search(item.text, row.answer.prompt, bool(row.answer.truncated_tokens))
            yield (NOT_THERE if there is Found.UNSUPPORTED else "spurious"), item.text


def _claim_errors(matches: Matches, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    for item in matches.answer:
        if item.mark != MATCH and item.kind == "verdict":
            yield ("wrong verdict" if item.text in known else LABEL_UNKNOWN), item.text
        elif item.mark != MATCH:
            yield "spurious evidence", item.text
    yield from (
        ("missed evidence", item.text) for item in matches.reference if item.mark != MATCH and item.kind == EVIDENCE
    )


def _tuple_errors(task: Task, matches: Matches, value: Any) -> Iterator[tuple[str, str]]:
    if task.metric is tuple_f1 and isinstance(value, list) and value:
        entries = value if isinstance(value[0], list) else [value]
        yield from (
            (TUPLE_LENGTH, "") for entry in entries if not (isinstance(entry, list) and len(entry) == len(FIELDS))
        )
    names = {SPURIOUS: "spurious", MISSED: "missed", PARTLY: "partly right"}
    items = [*matches.answer, *(item for item in matches.reference if item.mark == MISSED)]
    yield from ((names[item.mark], "; ".join(text for text, _ in item.fields)) for item in items if item.mark in names)


def _field_errors(task: Task, row: ShownAnswer, value: Any) -> Iterator[tuple[str, str]]:
    """Fields of an object beside those of its reference."""
    due = _value(task, row.answer.reference)
    if isinstance(value, dict) and isinstance(due, dict):
        yield from ((FIELD_MISSING, str(name)) for name in due if name not in value)
        yield from ((FIELD_UNKNOWN, str(name)) for name in value if name not in due)


def _value(task: Task, text: str) -> Any:
    return task.parse(text).value if task.parse else None


def _quotes(task: Task, row: ShownAnswer, value: Any) -> Iterator[tuple[str, Found]]:
    """The quotes that a task asks for, and where they stand."""
    for text in _quoted(task, value):
        found = search(text, row.answer.prompt, bool(row.answer.truncated_tokens))
        if found is not None:
            yield text, found


def _quoted(task: Task, value: Any) -> Iterable[str]:
    """Texts in a value that are quotes of the prompt."""
    if task.metric in (claim_f1, qa_f1) and isinstance(value, dict):
        evidence = value.get(EVIDENCE)
        if isinstance(evidence, str):
            return [evidence]
        return [text for text in flat_elements(evidence) if isinstance(text, str)] if isinstance(evidence, list) else []
    if task.metric is tuple_f1 and isinstance(value, list) and value:
        entries = value if isinstance(value[0], list) else [value]
        whole = [entry for entry in entries if isinstance(entry, list) and len(entry) == len(FIELDS)]
        return [entry[-1] for entry in whole if isinstance(entry[-1], str)]
    return []


def _example(task: Task, row: ShownAnswer, text: str) -> Example:
    answer = row.answer
    shown, sample = visible(answer.instance_id), answer.sample
    link = f"#prediction={task.name}/{quote(shown, safe='')}{f'&sample={sample}' if sample else ''}"
    name = _cut(answer.instance_id.removeprefix(f"{task.name}:")) + (f" ({sample})" if sample else "")
    return Example(name, link if len(shown) <= LONGEST_ID else "", _cut(text))


def _cut(text: str) -> str:
    """The beginning of a text on one line."""
    return visible_line(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
