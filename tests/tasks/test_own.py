"""Tasks that a name and a metric make: each metric's task holds what is asked of every held-out task."""

import json

import numpy as np
import pytest

from sciriff.tasks import COLUMNS, HELD_OUT, NAMES
from sciriff.tasks.own import METRICS, columns_of, held_out, names_of, own_task
from sciriff.tasks.task import EMPTY, NO_JSON, UNREADABLE, Task

REFERENCES = {
    "list_f1": '["BERT", "pooling"]',
    "entity_f1": '{"Method": ["pooling"], "Task": ["tagging", "parsing"]}',
    "tuple_f1": '[["BERT", "uses", "mean pooling"], ["BERT", "beats", "the baseline"]]',
    "claim_f1": '{"verdict": "SUPPORT", "evidence": ["It rose by a third."]}',
    "qa_f1": '{"answer": "by pooling", "evidence": ["We pool over words."]}',
    "label_accuracy": "Background",
    "rouge": "They pool over words.\nIt works well.",
    "bleu": "They pool over all words and it works well",
}
EACH = pytest.mark.parametrize("task", [own_task("my_task", metric) for metric in METRICS], ids=[*METRICS])


def reference(task: Task) -> str:
    """The reference of the metric that a task was made with."""
    return next(text for metric, text in REFERENCES.items() if own_task("my_task", metric) == task)


def test_own_tasks_follow_the_nine_by_name():
    tasks = held_out({"b-2": "bleu", "a_1": "qa_f1", "biored_ner": "bleu"})
    assert names_of(tasks) == (*NAMES, "a_1", "b-2"), "one of the nine keeps its own metric"
    assert columns_of(tasks) == (*COLUMNS, "a_1/f1_answer", "a_1/f1_evidence", "b-2/bleu")
    assert [task.short_name for task in tasks[-2:]] == ["a_1", "b-2"]
    assert held_out({}) == HELD_OUT
    assert held_out({"a": "bleu"}) == held_out({"a": "bleu"}) != held_out({"a": "rouge"})


def test_every_metric_has_a_reference_here():
    assert set(REFERENCES) == set(METRICS)
    assert not any(task.judged_columns for task in METRICS.values())


@EACH
def test_the_reference_itself_is_a_perfect_answer(task: Task):
    text = reference(task)
    scored = task.score(text, text)
    assert scored.unreadable is None
    details = task.details([scored])
    assert {details[task.summary[name]] for name in task.headline} == {1.0}
    assert set(task.summary.values()) <= set(details)


@EACH
@pytest.mark.parametrize(("answer", "kind"), [("", EMPTY), ("I do not know", NO_JSON)])
def test_an_unreadable_answer_scores_nothing(task: Task, answer: str, kind: str):
    scored = task.score(answer, reference(task))
    assert scored.unreadable == (kind if task.parse or kind == EMPTY else None)
    details = task.details([scored])
    assert {details[task.summary[name]] for name in task.headline} == {0.0}


@EACH
@pytest.mark.parametrize(
    "answer", ["null", "3", "[", '"text"', "[[[]]]", "[{}]", "[[], [1]]", '{"evidence": [1]}', '{"a": [{}]}', "\ud800"]
)
def test_no_answer_makes_it_raise(task: Task, answer: str):
    scored = task.score(answer, reference(task))
    assert scored.unreadable is None or scored.unreadable in UNREADABLE
    assert all(0 <= value <= 1 for value in task.details([scored]).values())
    assert (task.matches(answer, reference(task)) is None) == (task.parse is None)


@EACH
def test_the_scores_follow_from_summed_vectors_and_arrays_of_them(task: Task):
    answers = [task.score(text, reference(task)) for text in (reference(task), "[1]", "")]
    details = task.details(answers)
    alone = task.scores_of_sums(task.sums(answers))
    assert alone.items() <= details.items()
    several = task.scores_of_sums(np.array([task.sums(answers), task.sums(answers[:1])], dtype=float).T)
    assert {name: values[0] for name, values in several.items()} == pytest.approx(alone)


@pytest.mark.parametrize(
    ("metric", "text"),
    [("list_f1", '{"a": 1}'), ("tuple_f1", '[{"a": 1}]'), ("tuple_f1", '[["a"], "b"]'), ("claim_f1", "[]")],
)
def test_a_reference_that_its_metric_cannot_count_is_an_error(metric: str, text: str):
    """Else every answer would score 0, and nobody would know why."""
    with pytest.raises(ValueError):
        own_task("my_task", metric).score(json.dumps(["a"]), text)
