"""The data of the prediction browser, packed into the page: a script unpacks a task's part when somebody looks at it.

A part is JSON, compressed with zlib and written in base64, so no text of a model can end the element that holds it. The
prompts of a task are lists of numbers into one list of its different lines: instructions and papers stand in many.
"""

import base64
import zlib
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sciriff.report.answers import Answers, ShownAnswer, evenly_spaced
from sciriff.report.cards import UNREADABLE
from sciriff.run.json_lines import dumps
from sciriff.run.visible import visible
from sciriff.tasks.metrics.matches import MATCH, MISSED, PARTLY, SPURIOUS, WORDS, WRONG_TYPE, Item

MARKS = (MATCH, SPURIOUS, MISSED, WRONG_TYPE, PARTLY, WORDS)
"""A mark is its place here."""
MOST_ITEMS = 300
"""Items of one side that are shown; a model in a loop writes thousands."""


@dataclass(frozen=True)
class PagePart:
    """An element of the page that holds packed data."""

    name: str
    text: Markup


def parts(answers: list[Answers], count: int | None) -> list[PagePart]:
    """`index`, and for each task of it, by its place there, `answers-0` and `prompts-0`; `count` rows of each task."""
    chosen = [(found, evenly_spaced(found.rows, count)) for found in answers]
    chosen = [(found, rows) for found, rows in chosen if rows]
    if not chosen:
        return []
    made = [packed("index", {"marks": MARKS, "tasks": [_index(found, rows) for found, rows in chosen]})]
    for place, (_, rows) in enumerate(chosen):
        made += [
            packed(f"answers-{place}", [_answer(row) for row in rows]),
            packed(f"prompts-{place}", _prompts(rows)),
        ]
    return made


def packed(name: str, value: Any) -> PagePart:
    """Any JSON value as an element that `unpack(name)` of page.js reads."""
    return PagePart(f"data-{name}", Markup(base64.b64encode(zlib.compress(dumps(value).encode(), 9)).decode()))


def _index(found: Answers, rows: list[ShownAnswer]) -> dict[str, Any]:
    """What lists and filters need: names, scores in thousandths, flags, and of several samples their numbers."""
    return {
        "name": found.task.name,
        "short": found.task.short_name,
        "of": len(found.rows),
        "ids": [visible(row.answer.instance_id) for row in rows],
        "scores": [None if row.score is None else round(1000 * row.score) for row in rows],
        "flags": [_flags(row) for row in rows],
        **({"samples": [row.answer.key[1] for row in rows]} if any(row.answer.sample for row in rows) else {}),
    }


def _flags(row: ShownAnswer) -> str:
    """A letter for each thing that a filter asks for."""
    items = (*row.matches.answer, *row.matches.reference) if row.matches else ()
    marks = {item.mark for item in items}
    known = {
        "u": row.unreadable is not None,
        "l": row.at_limit,
        "p": row.truncated,
        "s": SPURIOUS in marks,
        "m": MISSED in marks,
        "t": WRONG_TYPE in marks or PARTLY in marks,
    }
    return "".join(letter for letter, holds in known.items() if holds)


def _answer(row: ShownAnswer) -> dict[str, Any]:
    """One answer as it is shown; what is empty is left out."""
    answer = row.answer
    shown: dict[str, Any] = {
        "answer": visible(answer.prediction),
        "reference": visible(answer.reference),
        "scores": {name: round(value, 4) for name, value in row.scores.items()},
        "unreadable": UNREADABLE.get(row.unreadable, row.unreadable) if row.unreadable else None,
        "ending": _ending(row),
    }
    if row.matches is not None:
        shown["items"] = [
            [_item(item) for item in side[:MOST_ITEMS]] for side in (row.matches.answer, row.matches.reference)
        ]
        shown["more"] = [max(len(side) - MOST_ITEMS, 0) for side in (row.matches.answer, row.matches.reference)]
    return shown


def _item(item: Item) -> list[Any]:
    """[mark, text, kind] or, of a tuple, [mark, [[text, 1 if it agrees], ...]]."""
    mark = MARKS.index(item.mark)
    if item.fields:
        return [mark, [[visible(text), int(agrees)] for text, agrees in item.fields]]
    return [mark, visible(item.text), visible(item.kind)]


def _prompts(rows: list[ShownAnswer]) -> dict[str, Any]:
    places: dict[str, int] = {}
    prompts = [
        [places.setdefault(line, len(places)) for line in visible(row.answer.prompt).split("\n")] for row in rows
    ]
    return {"lines": list(places), "prompts": prompts}


def _ending(row: ShownAnswer) -> str:
    """How one answer ended, in words."""
    answer = row.answer
    known = {
        "stop": "ended by the model",
        "length": "ended by the length limit",
        "refusal": "refused by the model",
        "content_filter": "held back by the provider's filter",
        None: "",
    }
    told = [
        f"prompt of {answer.prompt_tokens:,} tokens" if answer.prompt_tokens is not None else "",
        f"{answer.truncated_tokens:,} tokens of the prompt were cut" if answer.truncated_tokens else "",
        f"answer of {answer.output_tokens:,} tokens" if answer.output_tokens is not None else "",
        known.get(answer.finish_reason, f"finish reason {answer.finish_reason}"),
    ]
    return visible(", ".join(part for part in told if part))
