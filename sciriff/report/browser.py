"""The data of the prediction browser, packed into the page: a script unpacks a task's part when it is looked at.

A part is JSON, compressed with zlib and written in base64, so no text of a model can end the element that holds it.
Prompts repeat instructions and papers: a task has one list of its distinct lines, a prompt is a list of places in it.
"""

import base64
import zlib
from typing import Any

from markupsafe import Markup

from sciriff.data.saved_answers import SavedAnswer
from sciriff.report.answers import Answers, ShownAnswer, evenly_spaced
from sciriff.report.cards import UNREADABLE
from sciriff.run.json_lines import dumps
from sciriff.run.visible import visible
from sciriff.tasks.metrics.matches import MATCH, MISSED, PARTLY, SPURIOUS, WORDS, WRONG_TYPE, Item

MARKS = (MATCH, SPURIOUS, MISSED, WRONG_TYPE, PARTLY, WORDS)
"""A mark is packed as its place here."""
MOST_ITEMS = 300
"""Items of one side that are shown; a model in a loop writes thousands."""
ENDINGS = {
    "stop": "ended by the model",
    "length": "ended by the length limit",
    "no_content": "ended by the model without a word of text",
    "refusal": "refused by the model",
    "content_filter": "held back by the provider's filter",
    None: "",
}
"""Finish reason -> its words."""

Part = tuple[str, Markup]
"""(id, packed data) of an element of the page."""


def parts(answers: list[Answers], count: int | None) -> list[Part]:
    """`index`, and for each task of it, by its place there, `answers-0` and `prompts-0`; `count` rows of each task."""
    chosen = [(found, rows) for found in answers if (rows := evenly_spaced(found.rows, count))]
    if not chosen:
        return []
    made = [packed("index", {"marks": MARKS, "tasks": [_index(found, rows) for found, rows in chosen]})]
    for place, (_, rows) in enumerate(chosen):
        made += [packed(f"answers-{place}", list(map(_answer, rows))), packed(f"prompts-{place}", _prompts(rows))]
    return made


def packed(name: str, value: Any) -> Part:
    """Any JSON value as an element that `unpack(name)` of page.js reads."""
    return f"data-{name}", Markup(base64.b64encode(zlib.compress(dumps(value).encode(), 9)).decode())


def _index(found: Answers, rows: list[ShownAnswer]) -> dict[str, Any]:
    """What lists and filters need: names, scores in thousandths, flags, and the numbers of several samples."""
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
    """A letter for each filter that the answer passes."""
    marks = {item.mark for item in (*row.matches.answer, *row.matches.reference)} if row.matches else ()
    known = {
        "u": row.unreadable is not None,
        "l": row.answer.finish_reason == "length",
        "p": bool(row.answer.truncated_tokens),
        "s": SPURIOUS in marks,
        "m": MISSED in marks,
        "t": WRONG_TYPE in marks or PARTLY in marks,
    }
    return "".join(letter for letter, holds in known.items() if holds)


def _answer(row: ShownAnswer) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "answer": visible(row.answer.prediction),
        "reference": visible(row.answer.reference),
        "scores": {name: round(value, 4) for name, value in row.scores.items()},
        "unreadable": UNREADABLE.get(row.unreadable, row.unreadable) if row.unreadable else None,
        "ending": _ending(row.answer),
    }
    if row.matches is not None:
        sides = (row.matches.answer, row.matches.reference)
        shown["items"] = [list(map(_item, side[:MOST_ITEMS])) for side in sides]
        shown["more"] = [max(len(side) - MOST_ITEMS, 0) for side in sides]
    return shown


def _item(item: Item) -> list[Any]:
    """[mark, text, kind], for a tuple [mark, [[text, 1 if it agrees], ...]]."""
    mark = MARKS.index(item.mark)
    if item.fields:
        return [mark, [[visible(text), int(agrees)] for text, agrees in item.fields]]
    return [mark, visible(item.text), visible(item.kind)]


def _prompts(rows: list[ShownAnswer]) -> dict[str, Any]:
    places: dict[str, int] = {}
    texts = [visible(row.answer.prompt).split("\n") for row in rows]
    prompts = [[places.setdefault(line, len(places)) for line in lines] for lines in texts]
    return {"lines": list(places), "prompts": prompts}


def _ending(answer: SavedAnswer) -> str:
    parts = [
        f"prompt of {answer.prompt_tokens:,} tokens" if answer.prompt_tokens is not None else "",
        f"{answer.truncated_tokens:,} tokens of the prompt were cut" if answer.truncated_tokens else "",
        f"answer of {answer.output_tokens:,} tokens" if answer.output_tokens is not None else "",
        ENDINGS.get(answer.finish_reason, f"finish reason {answer.finish_reason}"),
    ]
    return visible(", ".join(filter(None, parts)))
