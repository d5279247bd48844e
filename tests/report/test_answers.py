"""Which predictions are shown, and how hostile ones are made visible."""

from pathlib import Path

from sciriff.records import Prediction, write_jsonl
from sciriff.report.answers import LONGEST, evenly_spaced, read_answers, visible


def prediction(number: int, **values: object) -> Prediction:
    return Prediction("scierc_ner", str(number), "p", values.pop("text", "a"), "r", **values)  # type: ignore[arg-type]


def test_examples_are_spread_evenly() -> None:
    rows = [prediction(i) for i in range(100)]
    assert [row.instance_id for row in evenly_spaced(rows, 4)] == ["12", "37", "62", "87"]
    assert evenly_spaced(rows, 0) == []
    assert evenly_spaced(rows[:3], 10) == rows[:3]
    assert len({row.instance_id for row in evenly_spaced(rows, 99)}) == 99


def test_answers_are_counted(tmp_path: Path) -> None:
    rows = [
        prediction(0, finish_reason="length", output_tokens=10),
        prediction(1, text=" \n", output_tokens=20, truncated_tokens=5),
        prediction(2),
    ]
    write_jsonl(tmp_path / "scierc_ner.jsonl", rows)
    (tmp_path / "bioasq_list_qa.jsonl").write_text("")
    (tmp_path / "unknown.jsonl").write_text("not a task of ours")
    (found,) = read_answers(tmp_path, show=1)
    assert (found.task, found.n, found.at_limit, found.truncated, found.empty) == ("scierc_ner", 3, 1, 1, 1)
    assert found.output_tokens == 15 and found.shown == [rows[1]]


def test_texts_are_made_visible_and_bounded() -> None:
    assert visible("a\x00\x1b\x7f\x85\u202e\u2066\ud800\n\tb") == "a␀␛␡\ufffd\ufffd\ufffd\ufffd\n\tb"
    long = visible("x" * (LONGEST + 1234))
    assert long.endswith("… and 1,234 more characters") and len(long) < LONGEST + 50
