"""The nine held-out tasks: names, columns, unreadable answers, and hostile input that must not raise."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_cases import CASES, FOLDER, REFERENCES

from sciriff.tasks import COLUMNS, HELD_OUT, NAMES
from sciriff.tasks.catalogue import catalogue
from sciriff.tasks.metrics.json_answer import json_list, json_object
from sciriff.tasks.metrics.judge_rating import JudgeCounts
from sciriff.tasks.task import EMPTY, NO_JSON, NULL, UNREADABLE, WRONG_TYPE, Task

BY_NAME = {task.name: task for task in HELD_OUT}
TASKS = pytest.mark.parametrize("task", HELD_OUT, ids=lambda task: task.name)
JSON_TASKS = pytest.mark.parametrize("task", [t for t in HELD_OUT if t.parse], ids=lambda task: task.name)
PAPER_COLUMNS = {
    "bioasq_list_qa/f1": "bioasq",
    "biored_ner/f1": "biored",
    "discomat_te/bleu": "discomat",
    "evidence_inference/f1_overlap": "evidence_inference",
    "multicite_intent_classification/f1": "multicite",
    "mup_single_document_summarization/lm_judge_reference": "mup",
    "qasper_abstractive_qa/lm_judge_answer": "qasper",
    "qasper_abstractive_qa/f1_evidence": "qasper",
    "scierc_ner/f1": "scierc",
    "scifact_entailment/f1_label": "scifact",
    "scifact_entailment/f1_evidence_token": "scifact",
}
"""The paper's eleven columns -> their task's name in the original tables."""


def test_the_papers_columns_come_first_in_its_order():
    assert COLUMNS[: len(PAPER_COLUMNS)] == tuple(PAPER_COLUMNS), "append further tasks after the paper's"
    for column, short in PAPER_COLUMNS.items():
        assert BY_NAME[column.partition("/")[0]].short_name == short
        assert column.partition("/")[0] in catalogue()


def test_short_names_of_tasks_are_unique():
    assert len({task.short_name for task in HELD_OUT}) == len(HELD_OUT), "give a task a `label`"


def test_every_task_has_a_case_and_every_case_a_task():
    assert set(CASES) == set(NAMES), f"each task needs one file {FOLDER.name}/<task>.json"
    for name, case in CASES.items():
        kinds = {answer["unreadable"] for answer in case["answers"]}
        assert None in kinds and len(kinds) > 1, f"{name}: needs a readable and an unreadable answer"


@pytest.mark.parametrize(
    ("name", "case"),
    [pytest.param(n, a, id=f"{n}-{a['why']}") for n, case in CASES.items() for a in case["answers"]],
)
def test_cases(name: str, case: dict[str, Any]):
    task = BY_NAME[name]
    scored = task.score(case["answer"], REFERENCES[name])
    assert scored.unreadable == case["unreadable"]
    details = task.details([scored])
    assert {score: details[score] for score in case["scores"]} == pytest.approx(case["scores"])


def test_importing_the_tasks_is_light():
    code = "import sys, sciriff.tasks; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "sacrebleu", "rouge_score", "torch", "omegaconf"} & set(loaded)


@TASKS
@pytest.mark.parametrize("parity", [False, True])
def test_the_reference_itself_is_a_perfect_answer(task: Task, parity: bool):
    reference = REFERENCES[task.name]
    scored = task.score(reference, reference, parity)
    assert scored.unreadable is None
    details = task.details([scored])
    headlines = {name: details[task.summary[name]] for name in task.headline if not name.startswith("lm_judge")}
    assert set(headlines.values()) <= {1.0}


@TASKS
def test_the_scores_follow_from_summed_vectors(task: Task):
    reference = REFERENCES[task.name]
    answers = [task.score(text, reference) for text in (reference, reference[:-1], "null", "[1]", "")]
    assert {len(task.vector(answer)) for answer in answers} == {len(task.fields)}
    details = task.details(answers)
    unrated = dict.fromkeys(task.judged.details if task.judged else (), 0)
    assert task.scores_of_sums(task.sums(answers)).items() <= (details | unrated).items()
    assert set(task.summary.values()) - set(details) <= set(unrated)


@TASKS
def test_the_formulas_take_arrays_of_sums(task: Task):
    reference = REFERENCES[task.name]
    answers = [task.score(text, reference) for text in (reference, reference[:-1], "null", "[1]", "")]
    answers[0] = replace(answers[0], judge=JudgeCounts(0.5, 1))
    sets = [answers, answers[1:], answers[-1:], [], answers[:1] * 3]
    scores = task.scores_of_sums(np.array([task.sums(some) for some in sets], dtype=float).T)
    for position, some in enumerate(sets):
        alone = task.scores_of_sums(task.sums(some))
        assert {name: values[position] for name, values in scores.items()} == pytest.approx(alone, abs=1e-15)


@TASKS
def test_no_answers_at_all(task: Task):
    assert set(task.details([]).values()) == {0}


@JSON_TASKS
@pytest.mark.parametrize(
    ("answer", "kind"),
    [("", EMPTY), (" \n", EMPTY), ("</s>", EMPTY), ("I do not know", NO_JSON), ("null", NULL), ('"null"', NULL)],
)
def test_an_unreadable_answer_counts_as_the_empty_one(task: Task, answer: str, kind: str):
    reference = REFERENCES[task.name]
    scored = task.score(answer, reference)
    assert scored.unreadable == kind
    assert scored.counts == task.score(json.dumps(task.empty), reference).counts


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("biored_ner", "[]"),
        ("biored_ner", "true"),
        ("biored_ner", '{"Gene": null}'),
        ("biored_ner", '{"Gene": [{"name": "TIM-1"}]}'),
        ("evidence_inference", "3"),
        ("qasper_abstractive_qa", '"by pooling"'),
        ("qasper_abstractive_qa", '{"answer": true}'),
        ("qasper_abstractive_qa", '{"answer": "by pooling", "evidence": [1]}'),
        ("scifact_entailment", "[]"),
        ("scifact_entailment", "false"),
        ("scifact_entailment", '{"verdict": "SUPPORT", "evidence": [1]}'),
        ("scifact_entailment", '{"verdict": "SUPPORT", "evidence": 0}'),
    ],
)
def test_an_answer_that_cannot_be_compared_counts_as_the_empty_one(name: str, answer: str):
    task = BY_NAME[name]
    scored = task.score(answer, REFERENCES[name])
    assert scored.unreadable == WRONG_TYPE
    assert scored.counts == task.score(json.dumps(task.empty), REFERENCES[name]).counts


@pytest.mark.parametrize("answer", ["7", '"TIM-1"', '{"TIM-1": 1}', '["TIM-1", {}]'])
def test_an_answer_that_is_no_list_is_unreadable_but_compared_as_in_the_reference_code(answer: str):
    scored = BY_NAME["bioasq_list_qa"].score(answer, REFERENCES["bioasq_list_qa"])
    assert scored.unreadable == WRONG_TYPE
    assert scored.counts.preds > 0


def test_parity_drops_the_reference_of_a_scifact_answer_that_is_no_object():
    task, reference = BY_NAME["scifact_entailment"], REFERENCES["scifact_entailment"]
    assert task.score("[]", reference, parity=True).counts == (0,) * 12
    assert task.score("[]", reference).counts.label_refs == 1


def test_parity_strips_characters_instead_of_the_end_marker():
    task, reference = BY_NAME["mup_single_document_summarization"], "sums"
    assert task.score("sums</s>", reference).counts.rouge1 == 1
    assert task.score("sums</s>", reference, parity=True).counts.rouge1 == 0


@JSON_TASKS
@pytest.mark.parametrize("reference", ["", "null", "nothing"])
def test_an_unreadable_reference_is_an_error(task: Task, reference: str):
    with pytest.raises(ValueError, match=f"the reference is not the JSON that {task.name} needs"):
        task.score("[]", reference)


def test_a_reference_of_the_wrong_type_is_an_error():
    with pytest.raises(ValueError, match="expected an object, found list"):
        BY_NAME["biored_ner"].score("{}", "[]")


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(st.sampled_from(["verdict", "evidence", "answer", "Gene", "x"]), inner, max_size=4),
    ),
    max_leaves=12,
)
SURROGATES = st.text(st.characters(codec=None), max_size=20)  # lone surrogates, too
BRACKETS = st.text(alphabet='[]{}",: \\1e-.x\n<s/>', max_size=40)
ANSWERS = st.one_of(VALUES.map(json.dumps), BRACKETS, SURROGATES)


@TASKS
@settings(max_examples=40)
@given(before=st.one_of(st.just(""), BRACKETS), answer=ANSWERS, after=BRACKETS, parity=st.booleans())
def test_no_answer_makes_a_task_raise(task: Task, before: str, answer: str, after: str, parity: bool):
    scored = task.score(before + answer + after, REFERENCES[task.name], parity)
    assert scored.unreadable is None or scored.unreadable in UNREADABLE
    details = task.details([scored])
    assert all(0 <= value <= 1 for value in details.values())
    assert (scored.status == "extract_failure") <= (scored.unreadable is not None)


@TASKS
@settings(max_examples=40)
@given(value=VALUES)
def test_no_json_value_makes_a_task_raise(task: Task, value: Any):
    task.score(json.dumps(value), REFERENCES[task.name])


HOSTILE = {
    "openers": "[" * 100_000,
    "braces": "{" * 100_000,
    "closers": "]" * 40_000,
    "alternating": "[}" * 40_000,
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 40_000 + "1" + "}" * 40_000,
    "deep mentions": '{"Gene":' + "[" * 250 + "]" * 250 + "}",
    "deep answer": '{"answer":' + '{"a":' * 250 + "1" + "}" * 251,
    "deep evidence": '{"verdict": "SUPPORT", "evidence":' + "[" * 250 + "]" * 250 + "}",
    "lists never closed": "[1" * 40_000,
    "spans that do not parse": "[x]{x}" * 20_000,
    "nested spans that do not parse": "[x" * 20_000 + "]" * 20_000,
    "a long number": "9" * 10_000,
    "long numbers": "[" + "9" * 10_000 + "," + "9" * 4_000 + "]",
    "long fraction": "0." + "1" * 40_000,
    "large exponent": "[1e999999999, -1e999999999]",
    "not numbers": "[NaN, Infinity, -Infinity]",
    "lone surrogates": '["\\ud800", "\udc00"] {"Gene": ["\\udfff"]}',
    "quotes": '"' * 40_000,
    "backslashes": '"' + "\\" * 40_000,
    "one character": "a" * 10_000_000,
    "one word": "we " * 40_000,
    "lines": "We pool messages\n" * 20_000,
    "different lines": "\n".join(f"we {number} pool" for number in range(20_000)),
    "entities": "&amp;&" * 20_000,
    "end markers": "</s>" * 20_000,
    "null characters": "\0" * 40_000,
    "many tuples": "[" + ",".join(['["drug", "placebo", "x", "y", "z"]'] * 5_000) + "]",
}


@TASKS
@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_hostile_answers_are_scored(task: Task, answer: str):
    assert all(0 <= value <= 1 for value in task.details([task.score(answer, REFERENCES[task.name])]).values())


SMALL, LARGE = 2_000, 32_000
"""Lengths in characters. A scorer of quadratic time takes 256 times as long for the second."""
PIECES = st.one_of(
    st.text(alphabet='[]{}",: \\1e-.x\n<s/>a', min_size=1, max_size=6),
    VALUES.map(lambda value: json.dumps(value) + ","),
    st.sampled_from(['["drug", "placebo", "x", "y", "z"],', "We pool messages.\n", "&amp;", "a-\n", "1,", "</s>"]),
)


def seconds(task: Task, answer: str, parity: bool) -> float:
    """CPU seconds of this process to score an answer, independent of others on the machine."""
    started = time.process_time()
    task.score(answer, REFERENCES[task.name], parity)
    return time.process_time() - started


@TASKS
@settings(max_examples=12, deadline=None)
@given(before=st.sampled_from(["", "[", "{", '"', '{"Gene": [', '{"answer": "']), piece=PIECES, parity=st.booleans())
def test_the_time_is_linear_in_the_length_of_an_answer(task: Task, before: str, piece: str, parity: bool):
    small, large = (before + piece * (length // len(piece)) for length in (SMALL, LARGE))
    most = 0.1 + 4 * LARGE / SMALL * min(seconds(task, small, parity) for _ in range(2))
    assert min(seconds(task, large, parity) for _ in range(2)) < most


@pytest.mark.parametrize("read", [json_list, json_object])
@pytest.mark.parametrize("piece", ["[x]", "{x}", "[x", "[", "]", "[]x", "]["])
def test_the_reader_parses_each_character_at_most_twice(monkeypatch, read, piece: str):
    parsed = []
    loads = json.loads
    monkeypatch.setattr("json.loads", lambda text: parsed.append(len(text)) or loads(text))
    text = "so " + piece * 1000
    read(text)
    assert sum(parsed) <= 2 * len(text)


@TASKS
@pytest.mark.parametrize("answer", ["", "null", "3", "[", '"text"', "[{}]", '{"evidence": [1]}', '{"Gene": [{}]}'])
def test_matches_exist_wherever_an_answer_is_scored(task: Task, answer: str):
    reference = REFERENCES[task.name]
    task.score(answer, reference)
    found = task.matches(answer, reference)
    assert (found is None) == (task.parse is None)
    assert found is None or found.reference


@JSON_TASKS
def test_matches_strip_the_answer_like_the_score(task: Task):
    reference = REFERENCES[task.name]
    found = task.matches(f"Sure: {reference} Bye.</s>", reference)
    assert found is not None and found.answer == found.reference
