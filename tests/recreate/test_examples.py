"""Examples that a build keeps for its page: which rows, beside which fields, and how small they are."""

import json
from pathlib import Path

from recreate_runs import build_rows, rows_of, write_task

from sciriff.recreate.examples import FIELD, PER_SPLIT, RECORD, LengthCounter, shown_fields
from sciriff.recreate.instance_id import without_template


def examples_of(out: Path) -> dict[str, dict]:
    lines = (out / ".tasks" / "examples.jsonl").read_text().splitlines()
    return {entry["task"]: entry for entry in map(json.loads, lines)}


def test_rows_of_each_split_are_kept_with_template_and_fields(tmp_path: Path):
    write_task(tmp_path / "t", records=40)
    assert build_rows(tmp_path / "t", tmp_path / "out") == 0
    entry = examples_of(tmp_path / "out")["kinds"]
    assert [row["split"] for row in entry["rows"]] == ["train", "validation", "test"] * PER_SPLIT
    built = {row["_instance_id"]: row for rows in rows_of(tmp_path / "out").values() for row in rows}
    for row in entry["rows"]:
        assert (row["input"], row["output"]) == (built[row["id"]]["input"], built[row["id"]]["output"])
        assert row["fields"]["text"] in row["input"] and row["fields"]["label"] == row["output"]
    assert "Which kind? {{ text }}" in entry["templates"]["0"]["jinja"]
    lengths = [len(row["input"]) for row in built.values()]
    assert entry["unit"] == "characters" and entry["lengths"]["input"]["longest"] == max(lengths)
    assert sum(entry["lengths"]["input"]["counts"]) == 40


def test_they_are_the_same_whatever_the_order_of_tasks_and_workers(tmp_path: Path):
    for name in ("a", "b"):
        write_task(tmp_path / "t", name, records=30)
    for out, more in (("one", {"workers": 1}), ("two", {"workers": 2, "tasks": ["b", "a"]})):
        assert build_rows(tmp_path / "t", tmp_path / out, **more) == 0
    assert examples_of(tmp_path / "one") == examples_of(tmp_path / "two")


def test_under_a_cap_only_rows_that_are_kept_are_shown(tmp_path: Path):
    write_task(tmp_path / "t", records=200)
    assert build_rows(tmp_path / "t", tmp_path / "out", cap=12) == 0
    kept = {row["_instance_id"] for rows in rows_of(tmp_path / "out").values() for row in rows}
    shown = {row["id"] for row in examples_of(tmp_path / "out")["kinds"]["rows"]}
    assert len(shown) >= 5 and shown <= kept


def test_several_templates_are_shown_in_turn(tmp_path: Path):
    jinjas = [f"{word}: {{{{ text }}}} ||| {{{{ label }}}}" for word in ("One", "Two", "Three")]
    write_task(tmp_path / "t", records=30, templates=jinjas)
    assert build_rows(tmp_path / "t", tmp_path / "out", template="all") == 0
    entry = examples_of(tmp_path / "out")["kinds"]
    assert [row["template"] for row in entry["rows"][:3]] == [0, 1, 2] and set(entry["templates"]) == {"0", "1", "2"}
    assert entry["rows"][1]["input"].startswith("Two: ")
    assert len({without_template(row["id"]) for row in entry["rows"]}) == len(entry["rows"])


def test_rows_that_another_tasks_evaluation_rows_leave_out_are_not_shown(tmp_path: Path):
    text = "A paper of two hundred characters, so that it is a document. " * 4
    records = [{"text": f"{text} {number}", "label": "x"} for number in range(30)]
    write_task(tmp_path / "t", "scierc_ner", records)
    write_task(tmp_path / "t", "twin", records)
    build_rows(tmp_path / "t", tmp_path / "out", split="document")
    train = {row["_instance_id"] for row in rows_of(tmp_path / "out")["train"]}
    shown = examples_of(tmp_path / "out")["twin"]["rows"]
    assert {row["id"] for row in shown if row["split"] == "train"} <= train
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert any("scierc_ner" in reason for reason in card["tasks"]["twin"]["left_out"])


def test_a_huge_record_is_cut_and_costs_no_more_than_its_beginning():
    shown = shown_fields({"text": "x" * 10_000_000, "deep": _nested(5000), "list": list(range(2_000_000)), "_id": 7})
    assert shown["text"].startswith("xxx") and f"{10_000_000 - FIELD:,} characters" in shown["text"]
    assert shown["deep"] == "(list, which is no JSON)" or len(shown["deep"]) <= FIELD + 2
    assert shown["list"].endswith("…") and "_id" not in shown
    many = shown_fields({f"field {number}": "y" * 2000 for number in range(1000)})
    assert sum(map(len, many.values())) < RECORD + 10_000 and "not shown" in list(many.values())[-1]


def test_fields_that_are_no_json_have_a_text_that_is_always_the_same():
    shown = shown_fields({"set": {"b", "a"}, "keys": {(1, 2): 3}, "object": object(), "surrogate": ["\ud800"]})
    assert shown == {
        "set": '["a", "b"]',
        "keys": "(dict, which is no JSON)",
        "object": '"(object)"',
        "surrogate": '["\ud800"]',
    }


def test_a_histogram_counts_all_lengths_in_few_steps():
    counter = LengthCounter()
    for length in range(1001):
        counter.add(length)
    lengths = counter.lengths()
    assert (lengths.median, lengths.longest, sum(lengths.counts)) == (500, 1000, 1001)
    assert lengths.size * len(lengths.counts) > 1000 and len(lengths.counts) <= 30
    assert LengthCounter().lengths().counts == [0]


def _nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value
