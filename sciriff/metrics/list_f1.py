"""Micro F1 of two lists, compared as sets of normalised items."""

from typing import Any, NamedTuple

from sciriff.metrics.metric import Metric, WrongShape, p_r_f1, ratio
from sciriff.metrics.normalise import elements, normal_item


class ListCounts(NamedTuple):
    correct: float
    preds: float
    refs: float
    lists_read: float
    """Of the two lists, the reference's too."""
    lists_unread: float


def _items(value: Any) -> tuple[set[str], bool]:
    """The items, and whether all could be read; one that cannot makes the whole list count as one empty item."""
    try:
        return {normal_item(item) for item in elements(value)}, True
    except WrongShape:
        return {""}, False


def _count(answer: Any, reference: Any) -> ListCounts:
    preds, preds_read = _items(answer)
    refs, refs_read = _items(reference)
    return ListCounts(
        correct=len(preds & refs),
        preds=len(preds),
        refs=len(refs),
        lists_read=preds_read + refs_read,
        lists_unread=2 - preds_read - refs_read,
    )


def _scores(sums: ListCounts) -> dict[str, float]:
    scores = p_r_f1("", sums.correct, sums.preds, sums.refs)
    return scores | {"frac_parsed": ratio(sums.lists_read, sums.lists_read + sums.lists_unread)}


list_f1 = Metric(
    numbers=ListCounts,
    count=_count,
    scores=_scores,
    in_form=lambda answer: isinstance(answer, list) and _items(answer)[1],
)
