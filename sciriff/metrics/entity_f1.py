"""Micro F1 of named entities, with their types and without."""

from typing import Any, NamedTuple

from sciriff.metrics.metric import Metric, WrongShape, p_r_f1
from sciriff.metrics.normalise import flat_elements, normal_item


class EntityCounts(NamedTuple):
    typed_correct: float
    typed_preds: float
    typed_refs: float
    untyped_correct: float
    untyped_preds: float
    untyped_refs: float


def _entities(value: Any) -> set[tuple[str, str]]:
    """(mention, type) of {type: mentions}. A type is taken as it is written, whether or not the schema has it."""
    if not isinstance(value, dict):
        raise WrongShape(f"expected an object, found {type(value).__name__}")
    return {(normal_item(mention), kind) for kind, mentions in value.items() for mention in flat_elements(mentions)}


def _count(answer: Any, reference: Any) -> EntityCounts:
    preds, refs = _entities(answer), _entities(reference)
    pred_mentions, ref_mentions = {mention for mention, _ in preds}, {mention for mention, _ in refs}
    return EntityCounts(
        typed_correct=len(preds & refs),
        typed_preds=len(preds),
        typed_refs=len(refs),
        untyped_correct=len(pred_mentions & ref_mentions),
        untyped_preds=len(pred_mentions),
        untyped_refs=len(ref_mentions),
    )


def _scores(sums: EntityCounts) -> dict[str, float]:
    typed = p_r_f1("typed", sums.typed_correct, sums.typed_preds, sums.typed_refs)
    return typed | p_r_f1("untyped", sums.untyped_correct, sums.untyped_preds, sums.untyped_refs)


entity_f1 = Metric(numbers=EntityCounts, count=_count, scores=_scores)
