import json

import pytest
from raw_corpora import corpus_of, raw_records, write_raw

from sciriff.run.user_error import UserError


def question(number, kind, exact, *ideal, snippet="The moon raises the tides."):
    asked = {"id": f"q{number}", "type": kind, "body": "Why tides?", "ideal_answer": list(ideal)}
    address = f"http://www.ncbi.nlm.nih.gov/pubmed/{number}"
    return asked | {"exact_answer": exact, "snippets": [{"text": snippet, "document": address}]}


def folder(tmp_path, *questions):
    text = json.dumps({"questions": questions})
    write_raw(tmp_path, {"BioASQ-training11b/training11b.json": text, "bioasq/golden/11B1_golden.json": text})
    return tmp_path


def test_answers_by_type(tmp_path):
    raw = folder(
        tmp_path,
        question(1, "yesno", "yes", "Yes,", "it does."),
        question(2, "list", [["moon", "Luna"], ["sun"], "wind"], "Three."),
        question(3, "factoid", [["moon"], ["the moon"]], "It is."),
        question(4, "factoid", ["moon", "our moon"], "It is."),
        question(5, "summary", None, "Gravity of the moon.", "Gravity."),
    )
    (yesno,) = raw_records(raw, "bioasq_task11b_yesno_qa", "train")
    assert (yesno["binary_ans"], yesno["long_ans"], yesno["_documents"]) == ("yes", "Yes, it does.", ["pmid:1"])
    (listed,) = raw_records(raw, "bioasq_task11b_list_qa", "test")
    assert listed["correct_ans"] == "moon, sun, wind"
    factoids = raw_records(raw, "bioasq_task11b_factoid_qa", "test")
    assert [row["correct_ans"] for row in factoids] == ["the moon", "our moon"]
    (summary,) = raw_records(raw, "bioasq_task11b_summary_qa", "test")
    assert summary["answer"] == "Gravity of the moon."


def test_a_summary_is_not_the_snippets(tmp_path):
    raw = folder(
        tmp_path,
        question(1, "summary", None, "the moon raises THE tides.", "The moon."),
        question(2, "summary", None, "The moon raises tides.", "The moon."),
    )
    assert [row["answer"] for row in raw_records(raw, "bioasq_task11b_summary_qa", "train")] == ["The moon."]


@pytest.mark.parametrize(
    ("kind", "exact"), [("yesno", None), ("list", "moon"), ("list", [[]]), ("factoid", []), ("factoid", [3])]
)
def test_an_answer_of_another_form_is_named(tmp_path, kind, exact):
    raw = folder(tmp_path, question(1, "summary", None, "Gravity."), question(2, kind, exact, "Gravity."))
    with pytest.raises(UserError, match=f"question 2: the answer of this {kind} question"):
        raw_records(raw, f"bioasq_task11b_{kind}_qa", "train")


def test_earlier_golden_sets_stand_for_the_training_file(tmp_path):
    names = ("task9b_golden/9B1_golden", "task10b_golden/10B1_golden", "task11b_golden/11B1_golden")
    for number, name in enumerate(names):
        text = json.dumps({"questions": [question(number, "yesno", "no", "No.")]})
        write_raw(tmp_path, {f"bioasq/{name}.json": text})
    assert "training11b" in (corpus_of(tmp_path, "bioasq_task11b_yesno_qa").incomplete or "")
    assert [row["_documents"] for row in raw_records(tmp_path, "bioasq_task11b_yesno_qa", "train")] == [
        ["pmid:1"],
        ["pmid:0"],
    ]
