"""Judge prompts: our own wording, one .txt file per task, on the reference code's scale."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from sciriff.data.saved_answers import SavedAnswer
from sciriff.run.user_error import UserError
from sciriff.tasks.metrics.answer_end import without_end
from sciriff.tasks.metrics.normalise import flat_elements
from sciriff.tasks.metrics.qa_f1 import answer_text
from sciriff.tasks.mup import MUP
from sciriff.tasks.qasper import QASPER
from sciriff.tasks.task import Task

QUESTION = re.compile(r"^Question:(.*)$", re.MULTILINE)
NOT_GIVEN = "(not given)"
SURROGATE = re.compile("[\ud800-\udfff]")
"""Lone surrogates, which models emit and UTF-8 cannot encode: servers refuse the whole call."""


def judge_prompt(task: Task, answer: SavedAnswer, parity: bool) -> str | None:
    """The judge's prompt for an answer; None for a missing answer, which is rated without a call.

    `parity` selects how the end of an answer is stripped, as in scoring. UserError with file and line for a malformed
    reference.
    """
    try:
        if (
            task.judged
            and task.judged.answer_field
            and task.answer_is_missing(task.score(answer.prediction, answer.reference, parity))
        ):
            return None
    except ValueError as error:
        raise UserError(f"{answer.place}: {error}") from None
    text = without_end(answer.prediction, parity)
    return SURROGATE.sub("\ufffd", _wording(task.name).substitute(VALUES[task.name](answer, text)))


def qasper_values(answer: SavedAnswer, text: str) -> dict[str, str]:
    """Placeholders of Qasper's judge prompt. The question is its last `Question:` line, after the document."""
    assert QASPER.parse is not None
    reference: Any = QASPER.parse(answer.reference).value
    questions = QUESTION.findall(answer.prompt)
    return {
        "question": questions[-1].strip() if questions else NOT_GIVEN,
        "passages": passages(reference.get("evidence")) or NOT_GIVEN,
        "reference": answer_text(reference) or NOT_GIVEN,
        "answer": answer_text(QASPER.parse(text).value) or "",
    }


def passages(evidence: Any) -> str:
    """The texts of a list, nested at any depth, one per line; a string is returned unchanged."""
    if isinstance(evidence, str):
        return evidence
    return "\n".join(map(str, flat_elements(evidence))) if isinstance(evidence, list) else ""


def mup_values(answer: SavedAnswer, text: str) -> dict[str, str]:
    return {"paper": answer.prompt.strip() or NOT_GIVEN, "reference": answer.reference, "answer": text}


VALUES: Mapping[str, Callable[[SavedAnswer, str], dict[str, str]]] = {MUP.name: mup_values, QASPER.name: qasper_values}
"""Task -> function that fills the placeholders of its judge prompt."""


@cache
def _wording(task: str) -> Template:
    return Template(Path(__file__).with_name(f"{task}.txt").read_text(encoding="utf-8"))
