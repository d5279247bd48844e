"""The metric of a task that has none of its own, chosen by the form of its references."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from sciriff.tasks.own import METRICS

LABEL_WORDS = 3
"""Most words of a label."""


def metric_of(references: Sequence[str]) -> str:
    """Name of the metric (METRICS) that scores answers to these references, which are those of one task.

    JSON is told by its form: a list of texts, a list of lists (tuples), an object of lists of texts (entities by type),
    an object with a verdict or an answer and its evidence. Lines of objects are tables, which BLEU compares as text.
    Other texts are labels where none has more than LABEL_WORDS words, and are compared by ROUGE where one has.
    """
    values = [_json(reference) for reference in references]
    for name, has_form in _FORMS:
        if all(map(has_form, values)) and all(_is_scored(name, reference) for reference in references):
            return name
    if all(_is_table(reference) for reference in references):
        return "bleu"
    return "label_accuracy" if all(len(text.split()) <= LABEL_WORDS for text in references) else "rouge"


def _list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _has_keys(*keys: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and value.keys() >= set(keys)


def _is_entities(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_list_of(str), value.values()))


_FORMS: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("list_f1", _list_of(str)),
    ("tuple_f1", _list_of(list)),
    ("claim_f1", _has_keys("verdict", "evidence")),
    ("qa_f1", _has_keys("answer", "evidence")),
    ("entity_f1", _is_entities),
)


def _json(text: str) -> Any:
    """The value that a text is; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_scored(name: str, reference: str) -> bool:
    """Whether the metric takes this reference."""
    try:
        METRICS[name].score("", reference)
    except ValueError:
        return False
    return True


def _is_table(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    return bool(lines) and all(isinstance(_json(line), dict) for line in lines)
