"""Micro F1 of verdicts on claims and of the cited evidence (SciFact)."""

from dataclasses import replace
from typing import Any, NamedTuple

from sciriff.tasks.metrics.matches import MATCH, MISSED, SPURIOUS, Item, Matches
from sciriff.tasks.metrics.metric import Metric, WrongShape, p_r_f1, ratio
from sciriff.tasks.metrics.normalise import flat_elements, overlap, tokens

NO_VERDICT = "NEI"
"""Not enough information: the negative class, which counts neither as predicted nor as expected."""


class ClaimCounts(NamedTuple):
    label_correct: float
    label_preds: float
    label_refs: float
    sentence_correct: float
    sentence_preds: float
    sentence_refs: float
    token_correct: float
    token_preds: float
    token_refs: float
    objects: float
    """Answers that are a JSON object; `with_verdict` and `with_evidence` are subsets."""
    with_verdict: float
    with_evidence: float


class Claim(NamedTuple):
    verdict: Any
    sentences: list[str]


def _claim(value: Any) -> Claim:
    if not isinstance(value, dict):
        raise WrongShape(f"expected an object, found {type(value).__name__}")
    verdict, evidence = value.get("verdict"), value.get("evidence")
    sentences = [] if evidence is None else flat_elements(evidence)
    if not all(isinstance(sentence, str) for sentence in sentences):
        raise WrongShape("expected sentences as evidence")
    return Claim(NO_VERDICT if verdict is None else verdict, sentences)


def _normal(sentence: str) -> str:
    return sentence.strip().lower()


def _count(answer: Any, reference: Any) -> ClaimCounts:
    pred, ref = _claim(answer), _claim(reference)
    predicted, expected = pred.verdict != NO_VERDICT, ref.verdict != NO_VERDICT
    pred_sentences, ref_sentences = (set(map(_normal, claim.sentences)) for claim in (pred, ref))
    pred_tokens, ref_tokens = ([t for s in claim.sentences for t in tokens(s)] for claim in (pred, ref))
    return ClaimCounts(
        label_correct=predicted and expected and pred.verdict == ref.verdict,
        label_preds=predicted,
        label_refs=expected,
        sentence_correct=len(pred_sentences & ref_sentences),
        sentence_preds=len(pred_sentences),
        sentence_refs=len(ref_sentences),
        token_correct=overlap(pred_tokens, ref_tokens),
        token_preds=len(pred_tokens),
        token_refs=len(ref_tokens),
        objects=1,
        with_verdict=answer.get("verdict") is not None,
        with_evidence=answer.get("evidence") is not None,
    )


def _matches(answer: Any, reference: Any) -> Matches:
    pred, ref = _claim(answer), _claim(reference)
    return Matches(_marked(pred, ref, SPURIOUS), _marked(ref, pred, MISSED))


def _marked(claim: Claim, other: Claim, alone: str) -> tuple[Item, ...]:
    sentences = {_normal(sentence) for sentence in other.sentences}
    verdict = Item(str(claim.verdict), MATCH if claim.verdict == other.verdict else alone, "verdict")
    distinct = dict.fromkeys(map(_normal, claim.sentences))
    return (verdict, *(Item(s, MATCH if s in sentences else alone, "evidence") for s in distinct))


def _scores(sums: ClaimCounts) -> dict[str, float]:
    return (
        p_r_f1("label", sums.label_correct, sums.label_preds, sums.label_refs)
        | p_r_f1("evidence_sent", sums.sentence_correct, sums.sentence_preds, sums.sentence_refs)
        | p_r_f1("evidence_tok", sums.token_correct, sums.token_preds, sums.token_refs)
        | {"correct_verdict_frac_parsed": ratio(sums.with_verdict, sums.objects)}
        | {"correct_evidence_frac_parsed": ratio(sums.with_evidence, sums.objects)}
    )


claim_f1 = Metric(ClaimCounts, _count, _scores, in_form=lambda answer: isinstance(answer, dict), matches=_matches)


def _count_as_reference(answer: Any, reference: Any) -> Any:
    return _count(answer, reference) if isinstance(answer, dict) else claim_f1.zero


claim_f1_of_reference = replace(claim_f1, count=_count_as_reference)
"""Variant with an error of the reference code: an answer that is no object drops its reference, inflating recall."""
