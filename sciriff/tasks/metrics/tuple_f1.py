"""Micro F1 of tuples of texts (findings of a trial, relations), matched exactly, by substring and by shared words."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

from sciriff.tasks.metrics.matches import MATCH, MISSED, PARTLY, SPURIOUS, Item, Matches
from sciriff.tasks.metrics.metric import Metric, WrongShape, p_r_f1, ratio
from sciriff.tasks.metrics.normalise import normal_item, token_f1, tokens

FIELDS = ("intervention", "comparator", "outcome", "effect", "evidence")
LEAST_OVERLAP = 0.3
"""Least token F1 at which two fields match. 26 words against 34 with 9 shared fall just below it in floating point."""


class TupleCounts(NamedTuple):
    exact: float
    substring: float
    overlap: float
    preds: float
    refs: float
    entries: float
    """Elements of the answer tried as tuples; `preds` of them are well-formed."""


@dataclass(frozen=True)
class Field:
    """One element of a tuple, normalised."""

    text: str

    @cached_property
    def tokens(self) -> list[str]:
        return tokens(self.text)


Tuple = tuple[Field, ...]
Match = Callable[[Field, Field], bool]


def _tuples(value: Any, length: int | None) -> tuple[list[Tuple], int]:
    """(well-formed tuples of an answer, number of entries tried); well-formed are lists of the length (None: of any)
    without objects. A list whose first element is a list is a list of tuples; any other non-empty value is tried as one
    tuple."""
    if not isinstance(value, list | str | dict) or not value:
        return [], 0
    entries = value if isinstance(value, list) and isinstance(value[0], list) else [value]
    found = []
    for entry in entries:
        if isinstance(entry, list) and length in (None, len(entry)):
            with suppress(WrongShape):
                found.append(tuple(Field(normal_item(item)) for item in entry))
    return found, len(entries)


def _substring(prediction: Field, reference: Field) -> bool:
    return bool(prediction.text) and (prediction.text in reference.text or reference.text in prediction.text)


def _overlap(prediction: Field, reference: Field) -> bool:
    return token_f1(prediction.tokens, reference.tokens) >= LEAST_OVERLAP


def _agree(pred: Tuple, ref: Tuple, match: Match) -> bool:
    return len(pred) == len(ref) and all(map(match, pred, ref))


def _pairs(preds: list[Tuple], refs: list[Tuple], match: Match) -> dict[int, Tuple]:
    """Greedily match predictions to references in order: position of a prediction -> the first free reference it fits.
    A duplicate reference can be matched once but counts twice, as in the reference code."""
    free = list(dict.fromkeys(refs))
    pairs = {}
    for position, pred in enumerate(preds):
        found = next((ref for ref in free if _agree(pred, ref, match)), None)
        if found is not None:
            free.remove(found)
            pairs[position] = found
    return pairs


def _count(answer: Any, reference: Any, length: int | None) -> TupleCounts:
    (preds, entries), (refs, _) = _tuples(answer, length), _tuples(reference, length)
    exact = len(set(preds) & set(refs))
    substring, overlap = (len(_pairs(preds, refs, match)) for match in (_substring, _overlap))
    return TupleCounts(exact, substring, overlap, len(preds), len(refs), entries)


def _matches(answer: Any, reference: Any, length: int | None) -> Matches:
    """Match tuples by shared words; an unmatched one is paired with the nearest left, to show which fields agree."""
    preds, refs = _tuples(answer, length)[0], _tuples(reference, length)[0]
    pairs = _pairs(preds, refs, _overlap)
    partner = dict(pairs)
    left = [ref for ref in dict.fromkeys(refs) if ref not in set(pairs.values())]
    for position, pred in enumerate(preds):
        alike = [ref for ref in left if len(ref) == len(pred)]
        if position not in pairs and alike:
            nearest = max(alike, key=lambda ref, pred=pred: sum(map(_overlap, pred, ref)))  # type: ignore[misc]
            if any(map(_overlap, pred, nearest)):
                partner[position] = nearest
                left.remove(nearest)
    counterpart = {ref: preds[position] for position, ref in partner.items()}
    return Matches(
        answer=tuple(_item(pred, partner.get(position), SPURIOUS) for position, pred in enumerate(preds)),
        reference=tuple(_item(ref, counterpart.pop(ref, None), MISSED) for ref in refs),
    )


def _item(fields: Tuple, partner: Tuple | None, alone: str) -> Item:
    agree = [partner is not None and _overlap(*pair) for pair in zip(fields, partner or fields, strict=True)]
    mark = MATCH if all(agree) else PARTLY if any(agree) else alone
    return Item("", mark, fields=tuple((field.text, same) for field, same in zip(fields, agree, strict=True)))


def _scores(sums: TupleCounts) -> dict[str, float]:
    scores = {"frac_valid_list": ratio(sums.preds, sums.entries)}
    for name in ("exact", "substring", "overlap"):
        scores |= p_r_f1(name, getattr(sums, name), sums.preds, sums.refs)
    return scores


def _metric(length: int | None, in_form: Callable[[Any], bool]) -> Metric:
    count, matches = partial(_count, length=length), partial(_matches, length=length)
    return Metric(TupleCounts, count, _scores, in_form=in_form, matches=matches)


def _is_list_of_tuples(value: Any) -> bool:
    found, entries = _tuples(value, None)
    return isinstance(value, list) and len(found) == entries


tuple_f1 = _metric(len(FIELDS), lambda answer: isinstance(answer, list))
any_tuple_f1 = _metric(None, _is_list_of_tuples)
"""Tuples of any length; two match only where they are equally long."""
