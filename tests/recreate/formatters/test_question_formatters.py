"""Formatters of questions on papers, which cut a paper to the context window."""

from typing import Any

import pytest

from sciriff.recreate.formatters import covid_deepset_qa, qasa, qasper


def words(text: str) -> int:
    """A tokenizer of words."""
    return len(text.split())


def answer(**changed: Any) -> dict[str, Any]:
    given = {
        "unanswerable": False,
        "extractive_spans": [],
        "yes_no": None,
        "free_form_answer": "",
        "evidence": ["The probe sank."],
        "highlighted_evidence": [],
    }
    return {"answer": given | changed, "annotation_id": "a", "worker_id": "w"}


def question(text: str, *answers: dict[str, Any]) -> dict[str, Any]:
    return {"question": text, "question_id": text, "answers": list(answers)}


PAPER: dict[str, Any] = {
    "_id": 17,
    "title": "Probes",
    "abstract": "On probes.",
    "full_text": [
        {"section_name": "Intro", "paragraphs": ["word " * 40, ""]},
        {"section_name": None, "paragraphs": ["The probe sank.", "It was heavy."]},
        {"section_name": "Empty", "paragraphs": [" "]},
        {"section_name": "End ::: Thanks", "paragraphs": ["Thanks to all."]},
    ],
    "figures_and_tables": [{"file": "1.png", "caption": "Figure 1: A probe"}],
    "qas": [
        question("Does it swim?", answer(yes_no=False)),
        question("Why?", answer(unanswerable=True, evidence=[]), answer(free_form_answer="Its weight.")),
        question("Which formula?", answer(free_form_answer="INLINEFORM0")),
        question("Which figure?", answer(free_form_answer="One", evidence=["FLOAT SELECTED: Figure 1"])),
        question("What did it do?", answer(extractive_spans=["sank"])),
        question("Whose?", answer(free_form_answer="Ours", evidence=["Not in the paper."])),
        question("On what?", answer(free_form_answer="Probes", evidence=["On probes.", "On probes."])),
    ],
}


def test_qasper_keeps_answers_of_a_type_and_the_whole_paper_without_a_window() -> None:
    rows = list(qasper.format_record(PAPER, question_type="abstractive"))
    assert [(row["_id"], row["question"], row["answer"]) for row in rows] == [
        ("17.0", "Why?", "Its weight."),
        ("17.1", "On what?", "Probes"),
    ]
    assert rows[1]["evidence"] == ["On probes."] and rows[0]["unanswerable"] is False
    sections = rows[0]["paper"].split("\n\n")
    assert sections[:2] == ["Probes", "On probes."] and sections[2].startswith("Intro\nword word")
    assert sections[3:] == [
        "Unnamed section\nThe probe sank.\nIt was heavy.",
        "End ::: Thanks\nThanks to all.",
        "Figure 1: A probe",
    ]
    (row,) = qasper.format_record(PAPER, question_type="extractive")
    assert row["answer"] == ["sank"] and row["_id"] == "17.0"


def test_qasper_reads_the_tables_of_the_hub() -> None:
    def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
        return {name: [row[name] for row in rows] for name in rows[0]}

    asked = [row | {"answers": columns(row["answers"])} for row in PAPER["qas"]]
    table = PAPER | {
        "full_text": columns(PAPER["full_text"]),
        "qas": columns(asked),
        "figures_and_tables": columns(PAPER["figures_and_tables"]),
    }
    for kind in ("abstractive", "extractive"):
        rows = [list(qasper.format_record(paper, question_type=kind)) for paper in (PAPER, table)]
        assert rows[0] == rows[1] != []


def test_qasper_fills_the_window_around_the_evidence() -> None:
    def papers(window: int, seed: int = 0) -> list[str]:
        options: dict[str, Any] = {"count_tokens": words, "context_window": window, "seed": seed}
        return [row["paper"] for row in qasper.format_record(PAPER, question_type="abstractive", **options)]

    evidence = "Unnamed section\nThe probe sank.\nIt was heavy."
    assert papers(10)[0] == f"Probes\n\nOn probes.\n\n{evidence}"  # the evidence stays; the row is over the limit
    whole = papers(10_000)
    assert whole == [row["paper"] for row in qasper.format_record(PAPER, question_type="abstractive")]
    narrow = [papers(300 + 24, seed)[0] for seed in range(8)]
    assert all(evidence in paper and "word" not in paper for paper in narrow)
    assert {"Thanks to all." in paper for paper in narrow} == {True, False}
    assert all(words(paper) <= 17 for paper in narrow)
    assert narrow == [papers(300 + 24, seed)[0] for seed in range(8)]


def test_qasper_refuses_a_broken_paper() -> None:
    broken = answer()
    del broken["answer"]["evidence"]
    paper = PAPER | {"qas": [PAPER["qas"][0], question("?", broken)]}
    with pytest.raises(ValueError, match=r"qas\[1\].answers\[0\].answer.evidence is missing"):
        list(qasper.format_record(paper, question_type="extractive"))
    with pytest.raises(ValueError, match="question_type='boolean' is not known; use abstractive or extractive"):
        list(qasper.format_record(PAPER, question_type="boolean"))


def test_qasa_shortens_what_does_not_fit() -> None:
    passages = ["The net learns shapes. It rained.", "The net learns colours. Data are new.", "It rained hard."]
    record = {
        "question": "What does the net learn?",
        "composition": "The net learns shapes and colours of data.",
        "evidential_info": [{"context": text, "rationale": ""} for text in [*passages, passages[0]]],
    }
    (whole,) = qasa.format_record(record, tokenizer_path="somewhere")
    assert whole["context"] == "\n".join(passages)
    room = 200 + words(record["question"] + " " + record["composition"])  # type: ignore[operator]
    options: dict[str, Any] = {"count_tokens": words, "removal_thresh_percentage": 0.4}
    assert list(qasa.format_record(record, context_window=room + 16, **options)) == [whole]
    (row,) = qasa.format_record(record, context_window=room + 11, **options)
    assert row["context"] == "The net learns shapes. The net learns colours. Data are new."
    assert list(qasa.format_record(record, context_window=room + 10, **options)) == []
    assert list(qasa.format_record(record | {"evidential_info": []})) == []
    with pytest.raises(ValueError, match=r"evidential_info\[0\].context is missing"):
        list(qasa.format_record(record | {"evidential_info": [{"text": "x"}]}))


SENTENCES = [f"Sentence number {i} is here." for i in range(1, 41)]


@pytest.mark.parametrize("place", [1, 20, 40])
def test_covid_qa_grows_a_passage_around_the_answer(place: int) -> None:
    context = " ".join(SENTENCES)
    text = f"number {place} is"
    record = {
        "_id": 3,
        "question": " Which? ",
        "context": context,
        "answers": {"text": [text], "answer_start": [context.index(text) + 1]},  # as in the corpus, often off by one
        "is_impossible": False,
    }
    (whole,) = covid_deepset_qa.format_record(record)
    assert whole == {"article": context, "question": "Which?", "answer": text}
    articles = set()
    for seed in range(8):
        options: dict[str, Any] = {"count_tokens": words, "context_window": 200 + 4 + 40, "seed": seed}
        (row,) = covid_deepset_qa.format_record(record, **options)
        shown = row["article"].split(". ")
        assert text in row["article"] and row["article"] in context and 5 <= len(shown) <= 8
        articles.add(row["article"])
    assert (len(articles) > 1) == (place == 20)  # at an end there is one passage only
    (narrow,) = covid_deepset_qa.format_record(record, count_tokens=words, context_window=1)
    assert narrow["article"] == SENTENCES[place - 1]


def test_covid_qa_skips_and_refuses() -> None:
    record = {"_id": 0, "question": "Q?", "context": "All is well.", "answers": [{"text": "well", "answer_start": 7}]}
    assert next(covid_deepset_qa.format_record(record))["answer"] == "well"
    assert list(covid_deepset_qa.format_record(record | {"is_impossible": True})) == []
    assert list(covid_deepset_qa.format_record(record | {"answers": []})) == []
    with pytest.raises(ValueError, match="answer_start=7"):
        list(covid_deepset_qa.format_record(record | {"answers": [{"text": "ill", "answer_start": 7}]}))
