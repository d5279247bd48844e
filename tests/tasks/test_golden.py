"""Parity with the reference code: all it printed for 1,208 perturbed answers, per task and per answer."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sciriff.tasks import HELD_OUT
from sciriff.tasks.metrics.answer_end import stripped_as_reference
from sciriff.tasks.metrics.text_overlap import ROUGE, bleu
from sciriff.tasks.mup import MUP
from sciriff.tasks.qasper import QASPER
from sciriff.tasks.task import Scored, Task

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
BOOTSTRAP_NOISE = 8e-3
"""The reference code prints the median of a bootstrap of ROUGE; ours is the exact mean."""

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference's results are not here")
NINE = """bioasq_list_qa biored_ner discomat_te evidence_inference multicite_intent_classification
mup_single_document_summarization qasper_abstractive_qa scierc_ner scifact_entailment""".split()
"""The tasks that the reference code scores."""
TASKS = pytest.mark.parametrize("task", [task for task in HELD_OUT if task.name in NINE], ids=lambda task: task.name)

FIELDS = {
    "bioasq_list_qa": {
        "f1": ("correct", "preds", "refs"),
        "parse": {"success": "lists_read", "failure": "lists_unread"},
    },
    "biored_ner": {
        "typed": {"correct": "typed_correct", "preds": "typed_preds", "refs": "typed_refs"},
        "untyped": {"correct": "untyped_correct", "preds": "untyped_preds", "refs": "untyped_refs"},
    },
    "evidence_inference": {
        "score": {
            "preds": "preds",
            "refs": "refs",
            "exact_match": "exact",
            "substring_match": "substring",
            "overlap_match": "overlap",
        },
        "parse": {"good_list": "preds"},
    },
    "qasper_abstractive_qa": {"f1_answer": "answer_f1", "f1_evidence": "evidence_f1", "rouge": ROUGE},
    "scifact_entailment": {
        "label": {"correct": "label_correct", "preds": "label_preds", "refs": "label_refs"},
        "evidence_sent": {"correct": "sentence_correct", "preds": "sentence_preds", "refs": "sentence_refs"},
        "evidence_tok": {"correct": "token_correct", "preds": "token_preds", "refs": "token_refs"},
    },
}
FIELDS["multicite_intent_classification"] = FIELDS["bioasq_list_qa"]
FIELDS["scierc_ner"] = FIELDS["biored_ner"]


def rows(task: Task, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / task.name / "perturbed" / name).read_text().splitlines()]


def whole(task: Task, name: str) -> Any:
    return json.loads((GOLDEN / task.name / "perturbed" / name).read_text())


@cache
def scored_rows(name: str) -> list[Scored]:
    task = next(task for task in HELD_OUT if task.name == name)
    return [task.score(row["prediction"], row["reference"], parity=True) for row in rows(task, "predictions.jsonl")]


def scored(task: Task) -> list[Scored]:
    return scored_rows(task.name)


def rated(task: Task, answers: list[Scored]) -> list[Scored]:
    """Add the ratings in the judge's recorded responses, which are in the order of the sample."""
    assert task.judged is not None
    rule = task.judged.rule
    responses = [r["response"]["body"]["choices"][0]["message"]["content"] for r in whole(task, "lm_judge_raw.json")]
    answers = list(answers)
    for position, response in zip(rule.sample(len(answers)), responses, strict=True):
        answers[position] = replace(answers[position], judge=rule.count(rule.read(response)))
    return answers


def test_all_nine_tasks_have_golden_results():
    assert sorted(path.name for path in GOLDEN.iterdir() if (path / "perturbed").is_dir()) == NINE
    assert {*NINE} <= {task.name for task in HELD_OUT}


@TASKS
def test_every_printed_score(task: Task):
    answers = scored(task)
    details = task.details(rated(task, answers) if task.judged else answers)
    expected = whole(task, "expected.json")
    assert set(details) == set(expected["flat"])
    for name, value in expected["flat"].items():
        assert details[name] == pytest.approx(value, abs=BOOTSTRAP_NOISE if "rouge" in name else 1e-9), name
    assert set(task.summary) == set(expected["summary"])
    for name, value in expected["summary"].items():
        assert details[task.summary[name]] == pytest.approx(value, abs=BOOTSTRAP_NOISE if name == "rouge" else 1e-9), (
            name
        )


@TASKS
def test_every_answer(task: Task):
    expected = rows(task, "per_instance.jsonl")
    predictions = rows(task, "predictions.jsonl")
    assert [row["instance_id"] for row in predictions] == [row["instance_id"] for row in expected]
    for prediction, mine, theirs in zip(predictions, scored(task), expected, strict=True):
        instance_id = theirs["instance_id"]
        text = prediction["prediction"]
        assert (stripped_as_reference(text) != text) == theirs["stripped_changed"], instance_id
        assert mine.status == theirs.get("status", "valid_json"), instance_id
        counts = {**theirs.get("counts", {}), **({"rouge": theirs["rouge"]} if "rouge" in theirs else {})}
        for group, fields in {**FIELDS.get(task.name, {}), **({"rouge": ROUGE} if "rouge" in counts else {})}.items():
            value = counts[group]
            value = value if isinstance(value, dict) else {group: value}
            fields = {group: fields} if isinstance(fields, str) else fields
            fields = fields if isinstance(fields, dict) else {field: field for field in fields}
            for name, field in fields.items():
                assert getattr(mine.counts, field) == pytest.approx(value[name], abs=1e-12), (instance_id, field)
        if isinstance(theirs["bleu"], dict):  # the reference code raises for an empty answer
            assert mine.bleu.predicted_length == theirs["bleu"]["translation_length"], instance_id
            assert mine.bleu.reference_length == theirs["bleu"]["reference_length"], instance_id
            assert bleu.scores(mine.bleu)["bleu"] == pytest.approx(theirs["bleu"]["bleu"], abs=1e-9), instance_id


@TASKS
def test_counts_of_parsed_entries_and_fields(task: Task):
    """Counts of ours that correspond to several of the reference code's."""
    for mine, theirs in zip(scored(task), rows(task, "per_instance.jsonl"), strict=True):
        parse = theirs.get("counts", {}).get("parse", {})
        instance_id = theirs["instance_id"]
        if task.name == "evidence_inference":
            assert mine.counts.entries == sum(parse.values()), instance_id
        if task.name == "scifact_entailment":
            assert mine.counts.objects == 1 - parse["not_dict"], instance_id
            assert mine.counts.with_verdict == parse["correct_verdict"]["yes"], instance_id
            assert mine.counts.with_evidence == parse["correct_evidence"]["yes"], instance_id
        if task.name == "qasper_abstractive_qa":
            assert mine.counts.with_answer == parse["answer"]["yes"], instance_id
            assert mine.counts.with_evidence == parse["evidence"]["yes"], instance_id
            assert mine.counts.with_text_answer == parse["answer_entry_is_str"]["yes"], instance_id


@pytest.mark.parametrize("task", [MUP, QASPER], ids=lambda task: task.name)
def test_exact_means_of_rouge(task: Task):
    detail = whole(task, "rouge_detail.json")
    if task.parse is None:
        expected = {name: detail[name] for name in ROUGE}
    else:
        ours = {"parsed": "all_{}_parsed", "all": "all_{}_all", "valid_json_all": "valid_json_{}_all"}
        expected = {flat.format(name): detail[group][name] for group, flat in ours.items() for name in ROUGE}
    details = task.details(scored(task))
    assert {name: details[name] for name in expected} == pytest.approx(
        {name: value["mean_exact"] for name, value in expected.items()}, abs=1e-9
    )
