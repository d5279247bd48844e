"""SciFact and its kin, PubMedQA, SciCite, MultiCite, SciTLDR."""

import json

import pytest
from raw_corpora import corpus_of, lines, raw_records, write_raw

from sciriff.recreate.formatters import multicite_intent_classification, pubmedqa_qa, science_fact_checking
from sciriff.run.user_error import UserError

DEV_NAMED = ("train", "dev", "test")


def test_scifact_verdicts(tmp_path):
    refuted = {"4": [{"sentences": [1], "label": "REFUTE"}, {"sentences": [0], "label": "REFUTE"}]}
    claims = lines(
        {"id": 1, "claim": "Tides stay.", "evidence": refuted, "cited_doc_ids": [4, 5]},
        {"id": 2, "claim": "Moss sinks.", "evidence": {}, "cited_doc_ids": [5]},
    )
    corpus = lines(
        {"doc_id": 4, "title": "Tides", "abstract": [" They rise. ", "They fall.\n"]},
        {"doc_id": 5, "title": "Moss", "abstract": ["It floats."]},
    )
    files = {f"scifact/{name}.jsonl": claims for name in ("claims_train", "claims_dev")}
    write_raw(tmp_path, files | {"scifact/corpus_cited.jsonl": corpus})
    records = raw_records(tmp_path, "allenai/scifact_entailment", "validation")
    assert [(row["claim_id"], row["abstract_id"], row["verdict"]) for row in records] == [
        (1, 4, "CONTRADICT"),
        (1, 5, "NEI"),
        (2, 5, "NEI"),
    ]
    assert records[0]["_documents"] == ["s2:4", "claim:Tides stay."]
    (formatted,) = science_fact_checking.format_record(records[0])
    assert formatted["abstract_with_newlines"] == "They rise.\nThey fall."
    assert formatted["abstract_with_ids"] == "[0] They rise. [1] They fall."
    assert formatted["output_json_with_ids"] == '{"verdict": "CONTRADICT", "evidence": [1, 0]}'
    assert formatted["output_json_with_sentences"] == (
        '{"verdict": "CONTRADICT", "evidence": ["They rise.", "They fall."]}'
    )


def test_healthver_names_its_documents_apart(tmp_path):
    claim = lines({"id": 1, "claim": "Masks help.", "doc_ids": [4]})
    files = {f"healthver/claims_{split}.jsonl": claim for split in DEV_NAMED}
    write_raw(tmp_path, files | {"healthver/corpus.jsonl": lines({"doc_id": 4, "title": "", "abstract": ["They do."]})})
    (record,) = raw_records(tmp_path, "dwadden/healthver_entailment", "test")
    assert (record["verdict"], record["_documents"][0]) == ("NEI", "doc:healthver/4")


PAPER = {"QUESTION": "Do tides rise?", "CONTEXTS": ["We looked.", "They did."], "final_decision": "yes"} | {
    "LABELS": ["METHODS", "RESULTS"]
}


def test_pubmedqa_in_the_order_of_the_ids(tmp_path):
    ids = {"train": ["12"], "validation": ["11"], "test": ["13", "10"]}
    papers = {number: PAPER | {"QUESTION": f"{number}?"} for number in ("10", "11", "12", "13")}
    files = {"pubmedqa/ori_pqal.json": json.dumps(papers), "pubmedqa/pubmedqa_fold0_ids.json": json.dumps(ids)}
    write_raw(tmp_path, files)
    source = "bigbio/pubmed_qa:pubmed_qa_labeled_fold0_source"
    records = raw_records(tmp_path, source, "test")
    assert [(row["QUESTION"], row["_documents"]) for row in records] == [("13?", ["pmid:13"]), ("10?", ["pmid:10"])]
    (formatted,) = pubmedqa_qa.format_record(records[0])
    assert formatted == {"context": "(METHODS) We looked.\n(RESULTS) They did.", "question": "13?", "answer": "YES"}
    write_raw(tmp_path, {"pubmedqa/pubmedqa_fold0_ids.json": json.dumps(ids | {"test": ["99"]})})
    with pytest.raises(UserError, match="99 is not in"):
        raw_records(tmp_path, source, "test")
    for name in ("pqal_fold0/train_set", "pqal_fold0/dev_set", "test_set"):
        write_raw(tmp_path, {f"pubmedqa/{name}.json": json.dumps({"20": PAPER})})
    assert raw_records(tmp_path, source, "validation")[0]["_documents"] == ["pmid:20"]


def test_pubmedqa_sections_without_a_label_are_refused():
    with pytest.raises(ValueError, match="LABELS has 1 items and CONTEXTS 2"):
        list(pubmedqa_qa.format_record(PAPER | {"LABELS": ["METHODS"]}))


def test_scicite_labels_are_numbers(tmp_path):
    rows = lines({"text": "As in [3].", "label": "background", "metadata": {}}, end="\r\n")
    write_raw(tmp_path, {f"scibert_cls_sci-cite/{name}.txt": rows for name in DEV_NAMED})
    assert corpus_of(tmp_path, "allenai/scicite").incomplete
    assert raw_records(tmp_path, "allenai/scicite", "train") == [{"string": "As in [3].", "label": 1}]
    original = lines({"string": "We use [3].", "label": "method", "citingPaperId": "ab"})
    write_raw(tmp_path, {f"scicite/{name}.jsonl": original for name in DEV_NAMED})
    assert raw_records(tmp_path, "allenai/scicite", "validation") == [
        {"string": "We use [3].", "label": 0, "_documents": ["s2:ab"]}
    ]


def test_multicite_intents(tmp_path):
    rows = [
        {"id": "ab_0", "x": "As <cite>[3]</cite> do.", "y": "future_work uses"},
        {"id": "ab_1", "x": ["A."], "y": ""},
    ]
    write_raw(tmp_path, {f"multicite/{name}.json": json.dumps(rows) for name in DEV_NAMED})
    records = raw_records(tmp_path, "kejian/MultiCite-classification-gold-context", "test")
    assert [row["_documents"] for row in records] == [["doc:multicite/ab"], ["doc:multicite/ab"]]
    formatted = [row for record in records for row in multicite_intent_classification.format_record(record)]
    assert formatted[0]["output_transformed"] == ["FutureWork", "Uses"]
    assert formatted[1]["input_transformed"] == ["A."]


def test_scitldr_is_taken_as_it_is(tmp_path):
    row = {"source": ["Tides."], "target": ["Tides rise.", "They do."], "paper_id": "x1"}
    write_raw(tmp_path, {f"scitldr_AIC/{name}.jsonl": lines(row) for name in DEV_NAMED})
    assert raw_records(tmp_path, "allenai/scitldr:AIC", "train") == [row | {"_documents": ["openreview:x1"]}]
