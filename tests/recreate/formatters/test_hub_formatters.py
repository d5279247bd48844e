"""Formatters of data sets that the hub keeps, on invented records."""

import re
from typing import Any

import pytest

from sciriff.recreate.formatters import (
    acl_arc,
    chemsum,
    data_reco_mcq_mc,
    data_reco_mcq_sc,
    multixscience_sum,
    mup,
    scientific_lay_summ,
    scientific_papers,
    scireviewgen_summ,
)


def test_acl_arc_glues_tokens_with_what_stood_after_them() -> None:
    tokens = [
        {"word": "-LRB-", "originalText": "(", "after": ""},
        {"word": "see", "originalText": "see", "after": "  "},
        {"word": "below", "originalText": None, "after": None},
    ]
    record: dict[str, Any] = {
        "text": "We follow Kim (2003).",
        "intent": "Future",
        "section_name": None,
        "section_title": None,
        "sents_before": [tokens, tokens],
        "sents_after": [],
    }
    (row,) = acl_arc.format_record(record)
    assert row["context_before"] == "(see  below (see  below" and row["context_after"] == ""
    assert (row["section"], row["label"], row["citation_sentence"]) == ("", "FutureWork", "We follow Kim (2003).")
    with pytest.raises(ValueError, match="intent='Unsure\u241b' is none of Background"):
        list(acl_arc.format_record(record | {"intent": "Unsure\x1b"}))
    with pytest.raises(ValueError, match=r"sents_before\[0\]\[0\].word is missing"):
        list(acl_arc.format_record(record | {"sents_before": [[{"after": " "}]]}))


def test_chemsum_puts_sections_below_their_headers() -> None:
    record = {"title": "T", "abstract": "A", "headers": "Intro<!>Empty", "sections": "One.<!> <!>Three."}
    (row,) = chemsum.format_record(record)
    assert row == {"title": "T", "abstract": "A", "article_text": "Intro\nOne.\n\nThree."}
    with pytest.raises(ValueError, match="headers is missing"):
        list(chemsum.format_record({"title": "T", "abstract": "A", "sections": ""}))


def test_mup_counts_sentences() -> None:
    (row,) = mup.format_record({"paper_name": "P", "text": "Body", "summary": "One. Two? Three", "paper_id": "x"})
    assert row == {"paper_name": "P", "text": "Body", "summary": "One. Two? Three", "summary_sentences": 3}
    with pytest.raises(ValueError, match="summary=null"):
        list(mup.format_record({"paper_name": "P", "text": "Body", "summary": None}))


def test_scireviewgen_keeps_every_abstract() -> None:
    papers = [f"Review <s> Chapter <s> Abstract {i}. <s> BIB00{i} </s> " for i in (1, 2)]
    (row,) = scireviewgen_summ.format_record({"reference": "".join(papers), "target": " As BIB001 shows. "})
    assert row["input_transformed"].endswith("\nBIB001: Abstract 1.\nBIB002: Abstract 2.")
    assert row["input_transformed"].count("Chapter title") == 1 and row["target_transformed"] == "As BIB001 shows."
    with pytest.raises(ValueError, match="cited paper 2 has 3 parts"):
        list(scireviewgen_summ.format_record({"reference": papers[0] + "a <s> b <s> c", "target": "t"}))
    with pytest.raises(ValueError, match="no cited paper"):
        list(scireviewgen_summ.format_record({"reference": " ", "target": "t"}))


def test_multixscience_numbers_the_papers_alike_in_both_shapes() -> None:
    cited = [
        {"cite_N": "@cite_1", "mid": "7", "abstract": "First. "},
        {"cite_N": "@cite_11", "mid": "8", "abstract": ""},
    ]
    record = {"abstract": "Main.", "related_work": "As @cite_11, @cite_1 and @cite_3 say."}
    columns = {name: [paper[name] for paper in cited] for name in cited[0]}
    rows = [list(multixscience_sum.format_record(record | {"ref_abstract": shape})) for shape in (cited, columns)]
    assert rows[0] == rows[1]
    assert rows[0][0] == {
        "main_abstract": "Main.",
        "cited_abstracts_transformed": "[1] First.",
        "related_work_transformed": "As [2], [1] and [3] say.",
    }
    assert list(multixscience_sum.format_record(record | {"ref_abstract": cited[1:]})) == []
    with pytest.raises(ValueError, match=r"ref_abstract: its lists have different lengths \(2, 1, 2\)"):
        list(multixscience_sum.format_record(record | {"ref_abstract": columns | {"mid": ["7"]}}))


def test_scientific_papers_need_an_article_of_fifty_words_and_no_abstract_of_any_length() -> None:
    long = {"article": "word " * 50, "abstract": "Short."}
    assert list(scientific_papers.format_record(long)) == [long]
    assert list(scientific_papers.format_record(long | {"article": "word " * 49})) == []


def test_lay_summaries_are_of_papers_with_the_three_sections() -> None:
    record = {
        "title": "T",
        "article": "An abstract .\nAn introduction , long .\nResults\nA discussion",
        "section_headings": "Abstract\nIntroduction\nResults\nDiscussion",
        "summary": "Plain words .",
    }
    (row,) = scientific_lay_summ.format_record(record)
    shown = "Abstract\nAn abstract.\n\nIntroduction\nAn introduction, long.\n\nDiscussion\nA discussion"
    assert row == {"metadata": {"title": "T"}, "input_transformed": shown, "summary": "Plain words."}
    headings = "Abstract\nIntroduction\nDiscussion\nMethods"
    assert list(scientific_lay_summ.format_record(record | {"section_headings": headings})) == []
    assert list(scientific_lay_summ.format_record(record | {"article": "An abstract"})) == []


QUESTION: dict[str, Any] = {
    "_id": 4,
    "query": "Q",
    "keyphrase_query": "k",
    "year": 2020,
    "positives": [f"P{i}" for i in range(7)],
    "negatives": ["P1", *(f"N{i}" for i in range(9)), "Paris, Texas"],
    "descriptions": [{"name": "P1", "text": "One. Two.\r\n\r\nThree."}, {"name": "N0", "text": ""}],
}


def test_several_data_sets_suit() -> None:
    (row,) = data_reco_mcq_mc.format_record(QUESTION)
    options, answer = row["options"].split(", "), row["answer"].split(", ")
    assert len(options) == 7 and len(answer) == 5
    assert answer == [name for name in options if name.startswith("P")]
    assert row["context"] in ("", "P1: One. Two.")
    assert {len(r["options"].split(", ")) for r in data_reco_mcq_mc.format_record(QUESTION, max_cands=3)} == {5}
    ids = {row["options"] for i in range(9) for row in data_reco_mcq_mc.format_record(QUESTION | {"_id": i})}
    assert len(ids) > 5 and list(data_reco_mcq_mc.format_record(QUESTION)) == [row]
    assert list(data_reco_mcq_mc.format_record(QUESTION | {"positives": []})) == []


def test_one_data_set_suits() -> None:
    question = QUESTION | {"positives": ["P1"]}
    (row,) = data_reco_mcq_sc.format_record(question, num_sents_per_cand=1)
    assert row["answer"] == "P1" and row["year"] == 2020
    assert "P1" in re.split(", (?!Texas)", row["options"]) and len(re.split(", (?!Texas)", row["options"])) == 4
    assert row["context"] == "P1: One."
    assert list(data_reco_mcq_sc.format_record(QUESTION)) == []
    with pytest.raises(ValueError, match=r"descriptions\[0\].name is missing"):
        list(data_reco_mcq_sc.format_record(question | {"descriptions": [{"text": "x"}]}))
