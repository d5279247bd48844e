"""The metric that the form of a task's references shows."""

import pytest

from sciriff.tasks.by_form import metric_of


@pytest.mark.parametrize(
    ("references", "metric"),
    [
        (['["a", "b"]', "[]"], "list_f1"),
        (['[["a", "b", "inhibits"]]', '[["c", "d", "binds"], ["e", "f", "binds"]]'], "tuple_f1"),
        (['{"Gene": ["a"], "Cell": []}', '{"Gene": []}'], "entity_f1"),
        (['{"verdict": "SUPPORT", "evidence": ["A sentence."]}', '{"verdict": "NEI", "evidence": []}'], "claim_f1"),
        (['{"answer": "Yes", "evidence": ["A sentence."]}'], "qa_f1"),
        (['{"value": "1", "unit": "mol"}\n{"value": "2", "unit": "%"}', '{"value": "3"}'], "bleu"),
        (["yes", "no", "not at all"], "label_accuracy"),
        (["yes", "The authors do not say."], "rouge"),
        (['["a"]', "none of them is named here"], "rouge"),
        (['{"verdict": "SUPPORT", "evidence": ["a"]}', '{"Gene": ["a"]}'], "bleu"),
    ],
)
def test_the_form_decides(references: list[str], metric: str) -> None:
    assert metric_of(references) == metric
