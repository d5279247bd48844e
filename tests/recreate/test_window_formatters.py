"""Builds whose formatter re-keys records and cuts them to the context window, which needs id and tokenizer."""

from pathlib import Path
from typing import Any

from recreate_runs import build_rows, bytes_of, rows_of, write_task

TOKENIZER = str(Path(__file__).parents[2] / "sciriff/sample/tokenizer")
FORMATTER = "formatter:\n  name: qasper\n  args: {question_type: extractive}\n"
TEMPLATE = "{{ paper }}\n{{ question }}\n|||\n{{ answer | tojson }}"


def paper(number: int) -> dict[str, Any]:
    given = {"unanswerable": False, "yes_no": None, "free_form_answer": "", "extractive_spans": ["sank"]}
    answers = [{"answer": given | {"evidence": ["The probe sank."]}}]
    sections = [{"section_name": f"Part {i}", "paragraphs": [f"Words on {number}. " * 9]} for i in range(9)]
    return {
        "title": f"Probe {number}",
        "abstract": "On probes.",
        "full_text": [*sections, {"section_name": "End", "paragraphs": ["The probe sank."]}],
        "qas": [{"question": question, "answers": answers} for question in ("What did it do?", "And then?")],
    }


def test_rows_are_keyed_by_question_and_cut_alike_in_every_build(tmp_path: Path) -> None:
    templates = write_task(tmp_path / "t", records=[paper(i) for i in range(5)], more=FORMATTER, templates=[TEMPLATE])
    assert build_rows(templates, tmp_path / "whole") == 0
    whole = [row for rows in rows_of(tmp_path / "whole").values() for row in rows]
    assert sorted(row["_instance_id"] for row in whole) == [f"kinds:train:{i}.{j}" for i in range(5) for j in (0, 1)]

    window = {"context_window": 700, "tokenizer": TOKENIZER}
    for name, workers in (("one", 1), ("two", 2)):
        assert build_rows(templates, tmp_path / name, workers=workers, **window) == 0
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    cut = [row for rows in rows_of(tmp_path / "one").values() for row in rows]
    assert len(cut) == len(whole) and all("The probe sank." in row["input"] for row in cut)
    shown = {row["_instance_id"]: tuple(i for i in range(9) if f"Part {i}\n" in row["input"]) for row in cut}
    assert len(set(shown.values())) > 3 and all(0 < len(parts) < 9 for parts in shown.values())
