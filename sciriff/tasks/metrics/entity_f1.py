"""Micro F1 of named entities, with and without their types."""

from typing import Any, NamedTuple

from sciriff.tasks.metrics.matches import MATCH, MISSED, SPURIOUS, WRONG_TYPE, Item, Matches
from sciriff.tasks.metrics.metric import Metric, WrongShape, p_r_f1
from sciriff.tasks.metrics.normalise import flat_elements, normal_item


class EntityCounts(NamedTuple):
    typed_correct: float
    typed_preds: float
    typed_refs: float
    untyped_correct: float
    untyped_preds: float
    untyped_refs: float


Entities = dict[tuple[str, str], None]
"""Ordered set of (mention, type), as the keys of a dict."""


def _entities(value: Any) -> Entities:
    """Convert {type: mentions} to Entities. Types outside the task's schema are kept as written."""
    if not isinstance(value, dict):
        raise WrongShape(f"expected an object, found {type(value).__name__}")
    return dict.fromkeys(
        (normal_item(mention), kind) for kind, mentions in value.items() for mention in flat_elements(mentions)
    )


def _count(answer: Any, reference: Any) -> EntityCounts:
    preds, refs = _entities(answer), _entities(reference)
    pred_mentions, ref_mentions = {mention for mention, _ in preds}, {mention for mention, _ in refs}
    return EntityCounts(
        typed_correct=len(preds.keys() & refs.keys()),
        typed_preds=len(preds),
        typed_refs=len(refs),
        untyped_correct=len(pred_mentions & ref_mentions),
        untyped_preds=len(pred_mentions),
        untyped_refs=len(ref_mentions),
    )


def _matches(answer: Any, reference: Any) -> Matches:
    preds, refs = _entities(answer), _entities(reference)
    return Matches(_marked(preds, refs, SPURIOUS), _marked(refs, preds, MISSED))


def _marked(entities: Entities, others: Entities, alone: str) -> tuple[Item, ...]:
    mentions = {mention for mention, _ in others}
    return tuple(
        Item(mention, MATCH if (mention, kind) in others else WRONG_TYPE if mention in mentions else alone, kind)
        for mention, kind in entities
    )


def _scores(sums: EntityCounts) -> dict[str, float]:
    return p_r_f1("typed", *sums[:3]) | p_r_f1("untyped", *sums[3:])


entity_f1 = Metric(numbers=EntityCounts, count=_count, scores=_scores, matches=_matches)
