"""SciERC, GENIA and ChemProt."""

from raw_corpora import lines, raw_records, write_raw

from sciriff.recreate.formatters import genia_ner, scierc

TIDES = {
    "doc_key": "tides-1",
    "sentences": [
        ["It", "uses", "a", "tide", "-", "gauge", "-LRB-", "TG", "-RRB-", "."],
        ["TG", "drifts", ",", "so", "floats", "are", "used", "."],
    ],
    "ner": [[[7, 7, "Method"], [3, 5, "Method"]], [[10, 10, "Method"], [14, 14, "Material"], [14, 14, "Material"]]],
    "relations": [[], [[14, 14, 10, 10, "USED-FOR"], [14, 14, 7, 7, "USED-FOR"]]],
    "clusters": [[[3, 5], [7, 7], [10, 10]]],
}


def test_scierc_mentions_stand_for_their_cluster(tmp_path):
    write_raw(tmp_path, {f"scierc/{split}.json": lines(TIDES) for split in ("train", "dev", "test")})
    (record,) = raw_records(tmp_path, "scierc", "validation")
    assert record == {
        "org_text": "It uses a tide-gauge (TG). TG drifts, so floats are used.",
        "ner_answer": [["tide - gauge", "Method"], ["floats", "Material"]],
        "re_answer": [["floats", "USED-FOR", "tide - gauge"]],
        "_documents": ["doc:scierc/tides-1"],
    }
    (formatted,) = scierc.format_record(record)
    assert formatted["ner_dict"]["Method"] == ["tide - gauge"]
    assert formatted["ner_pipe_str"] == "tide - gauge: Method || floats: Material"
    assert formatted["re_answer"] == [["floats", "tide-gauge", "USED-FOR"]]


def test_genia_mentions_that_corefer_take_the_type(tmp_path):
    document = TIDES | {"doc_key": "77_train", "ner": [[[3, 5, "protein"]], [[14, 14, "DNA"]]]}
    write_raw(tmp_path, {f"genia/{split}.json": lines(document) for split in ("train", "validation", "test")})
    (record,) = raw_records(tmp_path, "genia", "train")
    assert record["ner_answer"] == ["tide - gauge: protein", "floats: DNA", "TG: protein"]
    assert record["_documents"] == ["medline:77"]
    (formatted,) = genia_ner.format_record(record, types_map="DNA:DNA,RNA:RNA,protein:Protein")
    assert formatted["ner_type_list"] == ["DNA", "RNA", "Protein"]
    assert formatted["ner_dict"] == {"DNA": ["floats"], "RNA": [], "Protein": ["tide - gauge", "TG"]}


def test_chemprot_relations_are_said_once(tmp_path):
    document = TIDES | {"doc_key": 16, "relations": [[[14, 14, 10, 10, "INHIBITOR"], [14, 14, 7, 7, "INHIBITOR"]], []]}
    write_raw(tmp_path, {f"chemprot/{split}.json": lines(document) for split in ("train", "validation", "test")})
    (record,) = raw_records(tmp_path, "chemprot", "test")
    assert record["re_answer"] == ["(floats, INHIBITOR, TG)"]
    assert record["_documents"] == ["pmid:16"]
