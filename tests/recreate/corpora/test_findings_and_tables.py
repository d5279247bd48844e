"""Evidence Inference, drug combinations, and the tables of Schema-to-JSON."""

import json

import pytest
from raw_corpora import corpus_of, lines, raw_records, write_raw

from sciriff.recreate.formatters import chemtables_te, discomat_te, drug_combo_extraction, mltables_te
from sciriff.run.user_error import UserError


def finding(label="significantly increased"):
    return ["moss", "weight", "stone", "It grew.", f"[INT] moss [LABEL] {label} [OUT] weight [COMP] stone"]


def write_findings(tmp_path, literal):
    quoted = '"' + literal.replace('"', '""') + '"'
    csv = f'X,Y,PMCID\r\n"A trial, of moss.",{quoted},7\r\n'
    write_raw(tmp_path, {f"evidence_inference/{name}_wlabels.csv": csv for name in ("train", "dev", "test")})


def test_findings_are_put_in_order(tmp_path):
    write_findings(tmp_path, repr([finding()]))
    (record,) = raw_records(tmp_path, "evidence_inference", "validation")
    assert record["document"] == "A trial, of moss."
    assert record["evidence"] == [["moss", "stone", "weight", "significantly increased", "It grew."]]
    assert record["_documents"] == ["pmc:7"]


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        ("[", "not a list of findings"),
        ("print('run')", "not a list of findings"),
        ("(" * 5000, "not a list of findings"),
        ("[['moss']]", "length 5"),
        ("{}", "array"),
        (repr([finding("went up")]), "significantly decreased"),
    ],
)
def test_findings_of_another_form_are_named(tmp_path, literal, reason):
    write_findings(tmp_path, literal)
    with pytest.raises(UserError, match=reason) as caught:
        raw_records(tmp_path, "evidence_inference", "train")
    assert "train_wlabels.csv:2: " in str(caught.value)


def test_combinations_name_their_drugs(tmp_path):
    spans = [{"span_id": 0, "text": "kelp"}, {"span_id": 1, "text": "moss"}]
    row = {"sentence": "Kelp and moss.", "paragraph": "P.", "spans": spans, "doc_id": "d1"}
    row |= {"rels": [{"class": "POS", "spans": [1, 0]}], "source": "https://pubmed.ncbi.nlm.nih.gov/123/"}
    text = lines(row, row | {"source": None, "rels": []})
    write_raw(tmp_path, {f"drug_combo_extraction/final_{split}_set.jsonl": text for split in ("train", "test")})
    records = raw_records(tmp_path, "allenai/drug-combo-extraction", "test")
    assert [record["_documents"] for record in records] == [["pmid:123"], ["doc:drug_combo/d1"]]
    formatted = [next(drug_combo_extraction.format_record(record)) for record in records]
    assert [record["relations"] for record in formatted] == [[["moss", "kelp", "POS"]], []]
    with pytest.raises(ValueError, match="no span_id 5"):
        list(drug_combo_extraction.format_record(row | {"rels": [{"class": "POS", "spans": [5]}]}))


def test_discomat_cells(tmp_path):
    glass = {"value": "20", "type": "Glass_Compound_Amount", "material": ["other", "the glass"], "unit": "mol"}
    cells = [glass | {"constituent": "α", "note": 1}, {"type": "Other", "value": "7"}]
    table = {"paper_id": "p1", "table_code": "| Glass | α |", "sup_text": "Caption"}
    table["gold_json_records"] = [{"cell_index": [0], "cell_record": json.dumps(cell)} for cell in cells]
    write_raw(tmp_path, {f"discomat/{name}.json": json.dumps({"p1::0": table}) for name in ("dev", "test")})
    assert "dev.json" in (corpus_of(tmp_path, "fbaigt/schema-to-json:discomat").incomplete or "")
    (record,) = raw_records(tmp_path, "fbaigt/schema-to-json:discomat", "train")
    assert record["_documents"] == ["doc:discomat/p1"]
    (formatted,) = discomat_te.format_record(record)
    assert formatted["table_code_text"] == "Caption\n\n| Glass | α |"
    assert formatted["json_records"] == (
        '{"value": "20", "type": "Glass_Compound_Amount", "constituent": "\\u03b1", "unit": "mol", '
        '"material": "the glass"}\n{"value": "7", "type": "Other"}'
    )
    listed = record["gold_json_records"]["cell_record"]
    parquet = record | {"gold_json_records": [{"cell_record": text} for text in listed]}
    assert list(discomat_te.format_record(parquet)) == [formatted]


def test_chemtables_has_every_numeric_cell(tmp_path):
    gold = {"cell_index": "CA(2,0)", "value": ">1", "type": "MIC", "unit": "μM", "treatment": "moss", "target": "xx"}
    cells = [("CA(10,1)", "9"), ("CA(2,0)", "1"), ("CA(2,1)", "3")]
    table = {
        "paper_id": "PMC5",
        "table_processed": "<table/>",
        "numeric_cells": [{"cell_index": index, "cell_value_processed": value} for index, value in cells],
        "cell_list_gold": [gold],
    }
    write_raw(tmp_path, {f"chemtables/{name}.json": json.dumps({"t": table}) for name in ("train", "dev", "test")})
    (record,) = raw_records(tmp_path, "fbaigt/schema-to-json:chemtables", "validation")
    assert record["_documents"] == ["pmc:5"]
    (formatted,) = chemtables_te.format_record(record)
    assert formatted["table_code_text"] == "<table/>"
    assert formatted["json_records"].splitlines() == [
        '{"value": ">1", "type": "MIC", "unit": "μM", "treatment": "moss", "target": "xx"}',
        '{"value": "3", "type": "Other"}',
        '{"value": "9", "type": "Other"}',
    ]


def test_mltables_has_the_text_above(tmp_path):
    cell = {"value": "0.9", "type": "Hyper-parameter/Architecture", "model": ["net", "TideNet"], "dataset": []}
    cell |= {"parameter/architecture name": ["dropout"], "dataset": "xx"}
    table = {"table_code": "tidenet & 0.9", "text_chunk_selected": "We train.", "cell_list_gold": [cell]}
    files = {f"mltables/{name}.json": json.dumps({"2101.00001v2_table3": table}) for name in ("train", "dev", "test")}
    write_raw(tmp_path, files)
    (record,) = raw_records(tmp_path, "fbaigt/schema-to-json:mltables", "test")
    assert record["_documents"] == ["arxiv:2101.00001"]
    (formatted,) = mltables_te.format_record(record)
    assert formatted["table_code_text"] == "We train.\n\ntidenet & 0.9"
    assert json.loads(formatted["json_records"])["model"] == "net"  # both are in the table, and the first counts


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("{", "not JSON"), ('{"type": "Tide"}', "Tide"), ("[1]", "type"), ('{"type": "Other"}', "has no 'value'")],
)
def test_a_broken_cell_is_named(cell, reason):
    record = {
        "table_code": "|",
        "sup_text": "",
        "gold_json_records": {"cell_record": ['{"type":"Other","value":"1"}', cell]},
    }
    with pytest.raises(ValueError, match=reason) as caught:
        list(discomat_te.format_record(record))
    assert "cell 2" in str(caught.value)
