"""Micro F1 of two lists, compared as sets of normalised items."""

from typing import Any, NamedTuple

from sciriff.tasks.metrics.matches import MATCH, MISSED, SPURIOUS, Item, Matches
from sciriff.tasks.metrics.metric import Metric, WrongShape, p_r_f1, ratio
from sciriff.tasks.metrics.normalise import elements, normal_item


class ListCounts(NamedTuple):
    correct: float
    preds: float
    refs: float
    lists_read: float
    """Readable lists of the two: the answer's and the reference's."""
    lists_unread: float


def _items(value: Any) -> tuple[dict[str, None], bool]:
    """(ordered set of items, whether all are readable). An unreadable item makes the list count as one empty item."""
    try:
        return dict.fromkeys(normal_item(item) for item in elements(value)), True
    except WrongShape:
        return {"": None}, False


def _count(answer: Any, reference: Any) -> ListCounts:
    preds, preds_read = _items(answer)
    refs, refs_read = _items(reference)
    return ListCounts(
        correct=len(preds.keys() & refs.keys()),
        preds=len(preds),
        refs=len(refs),
        lists_read=preds_read + refs_read,
        lists_unread=2 - preds_read - refs_read,
    )


def _matches(answer: Any, reference: Any) -> Matches:
    (preds, _), (refs, _) = _items(answer), _items(reference)
    answer = (Item(item, MATCH if item in refs else SPURIOUS) for item in preds)
    return Matches(tuple(answer), tuple(Item(item, MATCH if item in preds else MISSED) for item in refs))


def _scores(sums: ListCounts) -> dict[str, float]:
    scores = p_r_f1("", sums.correct, sums.preds, sums.refs)
    return scores | {"frac_parsed": ratio(sums.lists_read, sums.lists_read + sums.lists_unread)}


list_f1 = Metric(ListCounts, _count, _scores, lambda answer: isinstance(answer, list) and _items(answer)[1], _matches)
