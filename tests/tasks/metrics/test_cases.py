"""Cases of cases/: one file for each metric and each JSON reader."""

import json
from pathlib import Path
from typing import Any

import pytest

from sciriff.tasks.metrics import json_answer
from sciriff.tasks.metrics.claim_f1 import claim_f1, claim_f1_of_reference
from sciriff.tasks.metrics.entity_f1 import entity_f1
from sciriff.tasks.metrics.label_accuracy import label_accuracy
from sciriff.tasks.metrics.list_f1 import list_f1
from sciriff.tasks.metrics.metric import WrongShape
from sciriff.tasks.metrics.qa_f1 import qa_f1
from sciriff.tasks.metrics.text_overlap import bleu, rouge
from sciriff.tasks.metrics.tuple_f1 import any_tuple_f1, tuple_f1

CASES = Path(__file__).parent / "cases"
METRICS = {
    "any_tuple_f1": any_tuple_f1,
    "bleu": bleu,
    "claim_f1": claim_f1,
    "entity_f1": entity_f1,
    "label_accuracy": label_accuracy,
    "list_f1": list_f1,
    "qa_f1": qa_f1,
    "rouge": rouge,
    "tuple_f1": tuple_f1,
}
READERS = ("json_list", "json_list_repaired", "json_object")


def cases(*names: str) -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name}-{case['why']}")
        for name in names
        for case in json.loads((CASES / f"{name}.json").read_text())
    ]


def test_every_file_of_cases_is_used():
    assert {path.stem for path in CASES.iterdir()} == {*METRICS, *READERS}


@pytest.mark.parametrize(("name", "case"), cases(*METRICS))
def test_metric(name: str, case: dict[str, Any]):
    metric = METRICS[name]
    if case.get("wrong_shape"):
        with pytest.raises(WrongShape):
            metric.count(case["answer"], case["reference"])
        return
    numbers = metric.count(case["answer"], case["reference"])
    assert {field: getattr(numbers, field) for field in case["numbers"]} == pytest.approx(case["numbers"], abs=1e-12)
    scores = metric.scores(numbers)
    assert {score: scores[score] for score in case.get("scores", {})} == pytest.approx(case.get("scores", {}))


@pytest.mark.parametrize(("name", "case"), cases(*READERS))
def test_reader(name: str, case: dict[str, Any]):
    reading = getattr(json_answer, name)(case["text"])
    assert (reading.status, reading.value) == (case["status"], case["value"])


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_no_instance_at_all_scores_zero(metric):
    assert set(metric.scores(metric.zero).values()) == {0}


def test_the_parity_metric_drops_the_reference_of_an_answer_that_is_no_object():
    expected = {"verdict": "SUPPORT", "evidence": ["x"]}
    assert claim_f1_of_reference.count([1], expected) == claim_f1.zero
    assert claim_f1_of_reference.count({}, expected) == claim_f1.count({}, expected)
    assert claim_f1.count({}, expected).label_refs == 1
