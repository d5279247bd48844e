"""Mean token F1 and ROUGE of free-text answers, and token F1 of the cited evidence (Qasper)."""

from typing import Any, NamedTuple

from sciriff.tasks.metrics.matches import WORDS, Item, Matches
from sciriff.tasks.metrics.metric import Metric, WrongShape, ratio
from sciriff.tasks.metrics.normalise import flat_elements, token_f1, tokens, words_joined
from sciriff.tasks.metrics.text_overlap import ROUGE, rouge_scores


class QaCounts(NamedTuple):
    instances: float
    with_answer: float
    with_text_answer: float
    with_evidence: float
    answer_f1: float
    """A missing answer adds 0 here and below, so the sum over all instances equals that over instances with answers."""
    evidence_f1: float
    rouge1: float
    rouge2: float
    rougeL: float
    rougeLsum: float


def answer_text(value: dict[str, Any]) -> str | None:
    """The object's answer as text, None if missing. A list is joined with spaces; an object becomes its Python repr."""
    answer = value.get("answer")
    if answer is None or isinstance(answer, str):
        return answer
    if isinstance(answer, dict):
        return str(answer)
    return " ".join(map(str, flat_elements(answer)))


def _parts(value: Any) -> dict[str, str]:
    """Texts of the answer and the evidence, without missing ones."""
    if not isinstance(value, dict):
        raise WrongShape("expected an object")
    evidence = value.get("evidence")
    parts = {"answer": answer_text(value), "evidence": None if evidence is None else words_joined(evidence)}
    return {kind: text for kind, text in parts.items() if text is not None}


def _count(answer: Any, reference: Any) -> QaCounts:
    pred, ref = _parts(answer), _parts(reference)
    texts, evidence = ((pred.get(kind, ""), ref.get(kind, "")) for kind in ("answer", "evidence"))
    return QaCounts(
        1,
        "answer" in pred,
        isinstance(answer.get("answer"), str),
        "evidence" in pred,
        token_f1(*map(tokens, texts)),
        token_f1(*map(tokens, evidence)),
        *rouge_scores(*texts),
    )


def _matches(answer: Any, reference: Any) -> Matches:
    pred, ref = (
        tuple(Item(text, WORDS, kind) for kind, text in _parts(value).items()) for value in (answer, reference)
    )
    return Matches(pred, ref)


def _scores(sums: QaCounts) -> dict[str, float]:
    return {
        "answer_frac_parsed": ratio(sums.with_answer, sums.instances),
        "evidence_frac_parsed": ratio(sums.with_evidence, sums.instances),
        "answer_entry_is_str_frac_parsed": ratio(sums.with_text_answer, sums.with_answer),
        "f1_answer_parsed": ratio(sums.answer_f1, sums.with_answer),
        "f1_answer_all": ratio(sums.answer_f1, sums.instances),
        "f1_evidence_parsed": ratio(sums.evidence_f1, sums.with_evidence),
        "f1_evidence_all": ratio(sums.evidence_f1, sums.instances),
        **{f"{name}_parsed": ratio(getattr(sums, name), sums.with_answer) for name in ROUGE},
        **{f"{name}_all": ratio(getattr(sums, name), sums.instances) for name in ROUGE},
    }


qa_f1 = Metric(numbers=QaCounts, count=_count, scores=_scores, matches=_matches)
