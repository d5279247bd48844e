import pytest
from raw_corpora import lines

from sciriff.recreate.readers.dygie import dygie_documents
from sciriff.recreate.readers.joined_tokens import running_text, written
from sciriff.run.user_error import UserError

DOCUMENT = {
    "doc_key": "tides-1",
    "sentences": [["The", "tide", "gauge"], ["It", "drifts", "."]],
    "ner": [[[1, 2, "Device"]], []],
    "relations": [[], [[3, 3, 1, 2, "SAME-AS"]]],
    "clusters": [[[1, 2], [3, 3]]],
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_reads_documents(tmp_path, end):
    path = tmp_path / "train.json"
    path.write_bytes(lines(DOCUMENT, {"doc_key": 7, "sentences": []}, end=end).encode())
    document, empty = dygie_documents(path)
    assert document.text(1, 2) == "tide gauge"
    assert document.clusters == [[(1, 2), (3, 3)]]
    assert empty.doc_key == 7 and empty.ner == []


@pytest.mark.parametrize(
    "change",
    [
        {"ner": [[[5, 6, "Device"]]]},
        {"relations": [[[0, 0, 2, 9, "PART-OF"]]]},
        {"clusters": [[[4, 2]]]},
        {"clusters": [[]]},
        {"ner": [[[-1, 0, "Device"]]]},
        {"sentences": "The tide"},
    ],
)
def test_a_document_that_does_not_fit_is_named(tmp_path, change):
    path = tmp_path / "train.json"
    path.write_text(lines(DOCUMENT, DOCUMENT | change))
    with pytest.raises(UserError) as caught:
        list(dygie_documents(path))
    assert f"{path}:2: " in str(caught.value)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("A tide , or so ; it rose 5 % .", "A tide, or so; it rose 5%."),
        ("a well - known gauge", "a well-known gauge"),
        ("the gauge -LRB- a float -RRB- drifts", "the gauge (a float) drifts"),
        ("the gauge -LRB- a float -RRB- .", "the gauge (a float)."),
        ("so `` called '' tides", "so 'called' tides"),
        ("' low ' tide", "'low' tide"),
        ("f -LRB- g -LRB- x -RRB- -RRB- of x", "f (g (x))of x"),  # the published text has such words
    ],
)
def test_tokens_become_text(tokens, text):
    assert running_text([tokens.split(" ")]) == text


def test_spans_keep_the_spacing_of_punctuation():
    assert written("tides , -LRB- 5 % -RRB- and moss") == "tides , (5%) and moss"
