"""The items of `matches` add up to the counts behind the scores."""

import json
from pathlib import Path
from typing import Any

import pytest

from sciriff.tasks.metrics.claim_f1 import NO_VERDICT, claim_f1
from sciriff.tasks.metrics.entity_f1 import entity_f1
from sciriff.tasks.metrics.list_f1 import list_f1
from sciriff.tasks.metrics.matches import MATCH, MISSED, PARTLY, SPURIOUS, WORDS, WRONG_TYPE, Matches
from sciriff.tasks.metrics.metric import Metric, WrongShape
from sciriff.tasks.metrics.qa_f1 import qa_f1
from sciriff.tasks.metrics.tuple_f1 import tuple_f1

METRICS = {"claim_f1": claim_f1, "entity_f1": entity_f1, "list_f1": list_f1, "tuple_f1": tuple_f1}
CASES = [
    pytest.param(metric, case["answer"], case["reference"], id=f"{name}: {case['why']}")
    for name, metric in METRICS.items()
    for case in json.loads(Path(__file__).with_name("cases").joinpath(f"{name}.json").read_text())
]


def matches(metric: Metric, answer: Any, reference: Any) -> Matches:
    assert metric.matches is not None
    return metric.matches(answer, reference)


def expected(metric: Metric, found: Matches) -> dict[str, float]:
    """Counts computed from the items."""

    def count(side: str, kind: str, *marks: str) -> int:
        items = [item for item in getattr(found, side) if not kind or item.kind == kind]
        return sum(not marks or item.mark in marks for item in items)

    if metric is claim_f1:
        return {
            "sentence_correct": count("answer", "evidence", MATCH),
            "sentence_preds": count("answer", "evidence"),
            "sentence_refs": count("reference", "evidence"),
            "label_correct": sum(
                i.kind == "verdict" and i.mark == MATCH and i.text != NO_VERDICT for i in found.answer
            ),
        }
    if metric is entity_f1:
        mentions = {i.text for i in found.answer if i.mark in (MATCH, WRONG_TYPE)}
        return {
            "typed_correct": count("answer", "", MATCH),
            "typed_preds": count("answer", ""),
            "typed_refs": count("reference", ""),
            "untyped_correct": len(mentions),
        }
    correct = "overlap" if metric is tuple_f1 else "correct"
    return {correct: count("answer", "", MATCH), "preds": count("answer", ""), "refs": count("reference", "")}


@pytest.mark.parametrize(("metric", "answer", "reference"), CASES)
def test_items_add_up_to_the_numbers(metric: Metric, answer: Any, reference: Any) -> None:
    try:
        numbers = metric.count(answer, reference)
    except WrongShape:
        with pytest.raises(WrongShape):
            matches(metric, answer, reference)
        return
    found = matches(metric, answer, reference)
    wanted = expected(metric, found)
    assert {name: getattr(numbers, name) for name in wanted} == wanted
    both = [sum(item.mark == MATCH for item in side) for side in (found.answer, found.reference)]
    assert both[0] == both[1], "a match has an item on both sides"


def test_a_wrong_type_is_neither_spurious_nor_missed() -> None:
    found = matches(entity_f1, {"Disease": ["TIM-1", "rash"]}, {"Gene": ["tim-1"], "Species": ["mice"]})
    assert [(i.text, i.kind, i.mark) for i in found.answer] == [
        ("tim-1", "Disease", WRONG_TYPE),
        ("rash", "Disease", SPURIOUS),
    ]
    assert [(i.text, i.mark) for i in found.reference] == [("tim-1", WRONG_TYPE), ("mice", MISSED)]


def test_an_unmatched_tuple_shows_the_fields_that_agree_with_the_nearest() -> None:
    reference = [
        ["drug x", "placebo", "pain", "significantly decreased", "Pain was lower."],
        ["drug x", "placebo", "mood", "no significant difference", "Mood was the same."],
    ]
    answer = [["drug x", "placebo", "mood", "significantly increased", "Mood rose."], ["a", "b", "c", "d", "e"]]
    found = matches(tuple_f1, answer, reference)
    assert [item.mark for item in found.answer] == [PARTLY, SPURIOUS]
    assert [item.mark for item in found.reference] == [MISSED, PARTLY], "the nearest, not the first"
    assert [same for _, same in found.answer[0].fields] == [True, True, True, False, True]
    assert [text for text, _ in found.reference[1].fields][2:4] == ["mood", "no significant difference"]


def test_answers_compared_by_words() -> None:
    found = matches(qa_f1, {"answer": "by pooling", "evidence": None}, {"answer": "pooling", "evidence": ["a", "b"]})
    assert [(i.kind, i.text, i.mark) for i in found.answer] == [("answer", "by pooling", WORDS)]
    assert [(i.kind, i.text) for i in found.reference] == [("answer", "pooling"), ("evidence", "a b")]
