import json

import pytest

from sciriff.recreate.readers.bioasq import bioasq_questions
from sciriff.run.user_error import UserError

QUESTION = {
    "id": "q1",
    "type": "yesno",
    "body": "Do tides rise?",
    "snippets": [
        {"text": " Tides\nrise. ", "document": "http://www.ncbi.nlm.nih.gov/pubmed/11"},
        {"text": "Twice a day.", "document": "http://www.ncbi.nlm.nih.gov/pubmed/11"},
        {"text": "No more.", "document": "somewhere"},
    ],
    "ideal_answer": "They do.",
}


def test_reads_each_question_once(tmp_path):
    one, two = tmp_path / "1_golden.json", tmp_path / "2_golden.json"
    one.write_text(json.dumps({"questions": [QUESTION]}))
    two.write_text(json.dumps({"questions": [QUESTION, QUESTION | {"id": "q2", "ideal_answer": ["Yes.", "Aye."]}]}))
    (place, first), (_, second) = bioasq_questions([one, two])
    assert place == f"{one}: question 1"
    assert first.context == "Tides rise.\nTwice a day.\nNo more."
    assert first.documents == ["11"]
    assert first.answers == ["They do."] and second.answers == ["Yes.", "Aye."]


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "golden.json"
    path.write_text(json.dumps({"questions": [QUESTION, {key: QUESTION[key] for key in ("id", "type", "body")}]}))
    with pytest.raises(UserError, match=r"questions\[1\].snippets is missing") as caught:
        list(bioasq_questions([path]))
    assert str(path) in str(caught.value)
