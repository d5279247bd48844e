"""Corpora of papers and questions in their owners' files, which are written here with invented records."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sciriff.recreate.corpora import CORPORA
from sciriff.recreate.corpus import Record
from sciriff.run.user_error import UserError


def write(raw: Path, name: str, content: bytes) -> None:
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    (raw / name).write_bytes(content)


def read(raw: Path, name: str) -> dict[str, list[Record]]:
    """Records of the first form of the corpus whose files are there, by split."""
    corpus = next(corpus for corpus in CORPORA[name] if corpus.found(raw))
    return {split: list(corpus.read(split, files)) for split, files in (corpus.found(raw) or {}).items()}


def jsonl(*rows: dict[str, Any], newline: str = "\n") -> bytes:
    return newline.join([*map(json.dumps, rows), ""]).encode()


def test_covid_qa(tmp_path: Path) -> None:
    qas = [{"question": "Q?", "id": 5, "answers": [{"text": "a", "answer_start": 0}], "is_impossible": False}]
    paper = {"context": "a title\n\nhttps://www.example.org/articles/PMC12/\n", "document_id": 630, "qas": qas}
    content = json.dumps({"data": [{"paragraphs": [paper]}]}).encode()
    write(tmp_path, "covid_deepset_qa/200423_covidQA.json", content)
    (row,) = read(tmp_path, "covid_qa_deepset")["train"]
    assert row["answers"] == [{"text": "a", "answer_start": 0}] and row["context"] == paper["context"]
    assert row["_documents"] == ["doc:covid_qa/630", "pmc:PMC12"]

    write(tmp_path, "covid_deepset_qa/COVID-QA.json", content[:-1])  # the whole corpus goes first
    with pytest.raises(UserError, match=r"COVID-QA.json: not a file of COVID-QA \(.*; fetch it again"):
        read(tmp_path, "covid_qa_deepset")


def test_qasper_with_and_without_the_test_split(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        content = json.dumps({f"1900.0000{name[0]}": {"title": name, "qas": []}}).encode()
        write(tmp_path, f"qasper/qasper-{name}-v0.3.json", content)
    splits = read(tmp_path, "allenai/qasper")
    assert list(splits) == ["train", "validation"]
    assert splits["validation"][0] == {
        "id": "1900.0000d",
        "title": "dev",
        "qas": [],
        "_documents": ["arxiv:1900.0000d"],
    }
    write(tmp_path, "qasper/qasper-test-v0.3.json", b"[]")
    with pytest.raises(UserError, match=r"qasper-test-v0.3.json: not papers of Qasper"):
        read(tmp_path, "allenai/qasper")


def test_qasa(tmp_path: Path) -> None:
    rows = {"0": {"question": "Q?", "arxiv_id": "2000.1"}, "1": {"question": "R?", "paper_id": "paper_1"}}
    write(tmp_path, "qasa/testset_answerable_1554_v1.1.json", json.dumps(rows).encode())
    splits = read(tmp_path, "qasa")
    assert [row["_documents"] for row in splits["train"]] == [["arxiv:2000.1"], ["doc:qasa/paper_1"]]


@pytest.mark.parametrize(("subset", "document"), [("arxiv", "arxiv:7"), ("pubmed", "pmc:7")])
def test_scientific_papers(tmp_path: Path, subset: str, document: str) -> None:
    row = {
        "article_id": "7",
        "article_text": ["one .", "two ."],
        "abstract_text": ["<S> short . </S>", "<S> long . </S>"],
        "section_names": ["intro", "end"],
        "labels": None,
    }
    for name in ("train", "val", "test"):
        write(tmp_path, f"scientific_papers/{subset}-dataset/{name}.txt", jsonl(row, row, newline="\r\n"))
    splits = read(tmp_path, f"scientific_papers:{subset}")
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 2, "validation": 2, "test": 2}
    assert splits["test"][1] == {
        "article": "one .\ntwo .",
        "abstract": " short . \n long . ",
        "section_names": "intro\nend",
        "_documents": [document],
    }
    write(tmp_path, f"scientific_papers/{subset}-dataset/val.txt", jsonl(row, {"article_id": "8"}))
    with pytest.raises(UserError, match=r"val.txt:2: article_text is missing; fetch the file again"):
        read(tmp_path, f"scientific_papers:{subset}")


def test_multi_x_science(tmp_path: Path) -> None:
    cited = {"@cite_4": {"mid": "9", "abstract": "Old."}}
    paper = {"aid": "cs1", "mid": "2", "abstract": "New.", "related_work": "See @cite_4.", "ref_abstract": cited}
    packed = gzip.compress(json.dumps([paper]).encode())
    for name in ("train", "val", "test"):
        write(tmp_path, f"multi_x_science_sum/{name}.json.gz", packed)
    (row,) = read(tmp_path, "multi_x_science_sum")["validation"]
    assert row["ref_abstract"] == [{"cite_N": "@cite_4", "mid": "9", "abstract": "Old."}]
    assert row["_documents"] == ["arxiv:cs1"]
    empty = gzip.compress(b"[{}]")
    for broken, reason in ((packed[:-9], "damaged or only half there"), (empty, r"\[0\].aid is missing")):
        write(tmp_path, "multi_x_science_sum/test.json.gz", broken)
        with pytest.raises(UserError, match=f"test.json.gz: .*{reason}"):
            read(tmp_path, "multi_x_science_sum")


def test_datafinder(tmp_path: Path) -> None:
    described = [{"id": f"D{i}", "contents": f"Text {i}."} for i in range(20)]
    queries = [
        {"query": "many", "keyphrase_query": "k", "documents": ["D1", "D2", "Unknown"], "year": 2019},
        {"query": "one", "keyphrase_query": "k", "documents": ["D3"], "year": 2019},
        {"query": "none", "keyphrase_query": "k", "documents": [], "year": 2019},
    ]
    write(tmp_path, "data_reco_datafinder/documents.jsonl", jsonl(*described))
    write(tmp_path, "data_reco_datafinder/test_data.jsonl", jsonl(*queries))
    (many,) = read(tmp_path, "datafinder_mc")["train"]
    (one,) = read(tmp_path, "datafinder_sc")["train"]
    assert many["positives"] == ["D1", "D2", "Unknown"] and one["positives"] == ["D3"]
    for row in (many, one):
        assert len(row["negatives"]) == 12 and not set(row["negatives"]) & set(row["positives"])
        assert {"name": row["negatives"][0], "text": f"Text {row['negatives'][0][1:]}."} in row["descriptions"]
    write(tmp_path, "data_reco_datafinder/documents.jsonl", b'{"id": "D1"}\n{\n')
    with pytest.raises(UserError, match=r"documents.jsonl:1: contents is missing"):
        read(tmp_path, "datafinder_mc")
