"""Pins restore membership, the cut of splits, the order of lists and text that was drawn, and are counted."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recreate_runs import build_rows, bytes_of, rows_of, template_text, write_task
from task_builds import Built, build_one, write_splits

from sciriff.recreate.pins import unordered
from sciriff.run.user_error import UserError

TEMPLATE = "List the names. {{ text }}|||{{ names | tojson }}"
OTHER_WORDS = "Which names are here? {{ text }}|||{{ names | tojson }}"
SAMPLE = Path(__file__).parents[2] / "sciriff" / "sample" / "tokenizer"


def records(count: int, name: str = "r") -> list[dict[str, Any]]:
    return [
        {"_id": f"{name}{number}", "text": f"Text {number} of {name}.", "names": [f"a{number}", "b", "c"]}
        for number in range(count)
    ]


def task(folder: Path, rows: list[dict[str, Any]], *templates: str) -> Path:
    return write_task(folder, records=rows, templates=list(templates or [TEMPLATE]))


def pin(row: dict[str, Any], split: str = "train", **changed: Any) -> dict[str, Any]:
    """The published row of a record, with its list in another order."""
    names = sorted(row["names"], reverse=True)
    published = {"input": f"List the names. {row['text']}", "output": json.dumps(names), "metadata": {"a": 1}}
    return {**published, "_instance_id": f"kinds:{split}:{row['_id']}", **changed}


def write_pins(folder: Path, **splits: Iterable[dict[str, Any]]) -> str:
    folder.mkdir(exist_ok=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def of(built: Built, split: str) -> set[str]:
    return set(built.ids(split))


def test_membership_cut_and_order_of_lists_are_restored(tmp_path: Path):
    rows = records(60)
    chosen = random.Random(3).sample(rows, 40)
    published = {
        "train": [pin(row) for row in chosen[:24]],
        "validation": [pin(row) for row in chosen[24:32]],
        "test": [pin(row) for row in chosen[32:]],
    }
    built = build_one(task(tmp_path, rows), pin=write_pins(tmp_path / "pins", **published), cap=30)
    for split, expected in published.items():
        found = [{key: row[key] for key in ("_instance_id", "input", "output")} for row in built.rows[split]]
        expected = [{key: row[key] for key in ("_instance_id", "input", "output")} for row in expected]
        assert found == sorted(expected, key=lambda row: row["_instance_id"])
    assert built.result.pinned == {"order of lists restored": 40}
    assert built.result.read == {"train": 60}
    shuffled = random.Random(1).sample(rows, 60)
    assert build_one(task(tmp_path, shuffled), pin=str(tmp_path / "pins"), cap=30).bytes() == built.bytes()


def test_the_same_text_is_counted_apart_and_what_is_not_pinned_is_named(tmp_path: Path):
    rows = records(10)
    folder = task(tmp_path, rows)
    same = build_one(folder).rows["train"][:2]
    kept = [pin(row) for row in rows if f"kinds:train:{row['_id']}" not in {one["_instance_id"] for one in same}][:3]
    pins = write_pins(tmp_path / "pins", train=[*same, *kept], test=[], validation=[])
    built = build_one(folder, pin=pins, split="source")
    assert built.result.pinned == {"order of lists restored": 3, "same text": 2}
    assert len(built.ids("train")) == 10, "split=source leaves the splits of the source as they are"
    built = build_one(folder, pin=pins)
    assert of(built, "train") == {row["_instance_id"] for row in [*same, *kept]}
    assert of(built, "validation") | of(built, "test"), "splits without pins are cut by the seed"


def test_a_split_that_is_pinned_alone_leaves_the_others_to_cap_and_seed(tmp_path: Path):
    rows = records(100)
    folder = task(tmp_path, rows)
    pins = write_pins(tmp_path / "pins", validation=[pin(row) for row in rows[90:97]])
    built = build_one(folder, pin=pins, cap=50)
    assert of(built, "validation") == {f"kinds:train:r{number}" for number in range(90, 97)}
    assert len(built.ids()) == 50
    assert {split: len(found) for split, found in built.rows.items()} == {"train": 33, "validation": 7, "test": 10}
    again = build_one(task(tmp_path, rows[::-1]), pin=pins, cap=50)
    assert again.bytes() == built.bytes()
    one_file = build_one(folder, pin=str(tmp_path / "pins" / "validation.jsonl"), cap=50)
    assert one_file.bytes() == built.bytes()


def test_text_that_was_drawn_is_the_published_one_and_counted(tmp_path: Path):
    rows = records(6)
    drawn = [pin(row, input=f"List the names. Other passages than ours for {row['_id']}.") for row in rows[:4]]
    folder = task(tmp_path, rows)
    pins = write_pins(tmp_path / "pins", train=drawn)
    built = build_one(folder, pin=pins, lost=True)
    assert built.result.pinned == {"text as published": 4}
    assert {row["_instance_id"]: row["input"] for row in built.rows["train"]} == {
        row["_instance_id"]: row["input"] for row in drawn
    }
    not_lost = build_one(folder, pin=write_pins(tmp_path / "pins", train=[*drawn, pin(rows[5])]))
    assert not_lost.result.pinned == {"order of lists restored": 1, "other text than the row with this id": 4}
    assert of(not_lost, "train") == {"kinds:train:r5"}
    assert all(name.endswith("~unpinned") for name in [*not_lost.ids("validation"), *not_lost.ids("test")]), (
        "where texts can be compared, an id with another text is no pin of the record, which takes an id of its own"
    )


def test_text_stands_under_another_id(tmp_path: Path):
    """The raw data at hand lack the authors' first record, so all later numbers are one too small."""
    rows = records(8)
    published = [pin(row, _instance_id=f"kinds:train:{number}") for number, row in enumerate(rows)]
    here = [{key: value for key, value in row.items() if key != "_id"} for row in rows[1:]]
    built = build_one(task(tmp_path, here), pin=write_pins(tmp_path / "pins", train=published))
    counts = {"found by text under another id": 7, "other text than the row with this id": 1}
    assert built.result.pinned == counts
    texts = {row["_instance_id"]: (row["input"], row["output"]) for row in published[1:]}
    assert built.texts() == texts
    twice = [{**here[1]}, {**here[1]}]  # the same text two times has the id of its pin once
    built = build_one(task(tmp_path, twice), pin=str(tmp_path / "pins"))
    assert built.result.pinned["found by text under another id"] == 1
    assert len(set(built.ids())) == len(built.ids())


def test_drawn_text_does_not_take_an_id_that_another_record_has_by_its_text(tmp_path: Path):
    rows = records(3)
    pins = [pin(rows[0], _instance_id="kinds:train:r1"), pin(rows[2])]
    built = build_one(task(tmp_path, rows), pin=write_pins(tmp_path / "pins", train=pins), lost=True)
    assert of(built, "train") == {"kinds:train:r1", "kinds:train:r2"}
    assert built.texts()["kinds:train:r1"][0] == "List the names. Text 0 of r."
    assert len(set(built.documents)) == len(built.documents)


@pytest.mark.parametrize("templates", [[OTHER_WORDS], [OTHER_WORDS, TEMPLATE]])
def test_ids_alone_pin_with_templates_in_other_words(tmp_path: Path, templates: list[str]):
    rows = records(20)
    for number, published in enumerate(
        (
            [pin(row) for row in rows[:5]],
            [{"_instance_id": f"kinds:train:{row['_id']}"} for row in rows[:5]],
            [{"_instance_id": f"kinds:train:{row['_id']}", "input": "x", "output": None} for row in rows[:5]],
        )
    ):
        pins = write_pins(tmp_path / f"pins{number}", validation=published)
        built = build_one(task(tmp_path, rows, *templates), pin=pins, template="all")
        renderings = {f"kinds:train:r{number}" for number in range(5)}
        if len(templates) == 2:
            renderings |= {f"{name}:t2" for name in renderings}
        assert of(built, "validation") == renderings
        assert built.result.pinned == {"by id alone": 5}
        assert all("here?" in row["input"] for row in built.rows["validation"] if row["_instance_id"].count(":") == 2)


def test_rows_with_several_templates_pin_by_their_first(tmp_path: Path):
    rows = records(20)
    folder = task(tmp_path, rows, TEMPLATE, OTHER_WORDS)
    first = build_one(folder, template="all", seed=1)
    pins = write_pins(tmp_path / "pins", **first.rows)
    again = build_one(folder, template="all", seed=2, pin=pins)
    assert again.rows == first.rows != build_one(folder, template="all", seed=2).rows
    assert again.result.pinned == {"same text": 20}
    second = build_one(folder, template=1, seed=2, pin=pins)
    assert second.split_of() == {name: split for name, split in first.split_of().items() if name.endswith(":t2")}
    assert second.result.pinned == {"by id alone": 20}


def test_rows_whose_template_is_drawn_keep_their_pins(tmp_path: Path):
    rows = records(20)
    folder = task(tmp_path, rows, TEMPLATE, OTHER_WORDS)
    first = build_one(folder, seed=1)
    drawn = build_one(folder, template="random", seed=2, pin=write_pins(tmp_path / "pins", **first.rows))
    bases = {name.removesuffix(":t2"): split for name, split in drawn.split_of().items()}
    assert bases == first.split_of() and any(name.endswith(":t2") for name in drawn.split_of())
    assert sum(drawn.result.pinned.values()) == 20 and set(drawn.result.pinned) == {"same text", "by id alone"}


def test_pins_of_unknown_rows_and_of_other_tasks(tmp_path: Path):
    rows = records(10)
    unknown = [pin(rows[0], _instance_id=f"kinds:train:gone{number}", input="Gone.") for number in range(3)]
    other = pin(rows[0], _instance_id="elsewhere:train:r0")
    pins = write_pins(tmp_path / "pins", train=[other, *unknown, *(pin(row) for row in rows[:4])])
    built = build_one(task(tmp_path, rows), pin=pins)
    assert built.result.pinned == {"not in the raw data": 3, "order of lists restored": 4}
    assert of(built, "train") == {f"kinds:train:r{number}" for number in range(4)}


@pytest.mark.parametrize(
    ("pins", "line"),
    [
        ([{"_instance_id": "kinds:train:r1"}] * 2, r"train\.jsonl:2: kinds:train:r1 is pinned already"),
        ([{"input": "x"}], r"train\.jsonl:1: a pin needs an `_instance_id`"),
        ([{"_instance_id": "r1"}], r"train\.jsonl:1: a pin needs an `_instance_id`"),
        ([{"_instance_id": 5}], r"train\.jsonl:1: a pin needs an `_instance_id`"),
        ([{"_instance_id": "other:train:1"}], r"has no row of a task with a template file"),
        ([], r"has no row of a task with a template file"),
        ([{"_instance_id": "kinds:train:r1", "input": "\ud800", "output": "b"}], r"train\.jsonl:1: .*surrogate"),
    ],
)
def test_what_is_no_pin(tmp_path: Path, pins: list[dict[str, Any]], line: str):
    folder = task(tmp_path, records(3))
    with pytest.raises(UserError, match=line) as error:
        build_one(folder, pin=write_pins(tmp_path / "pins", train=pins))
    assert "\n" not in str(error.value)


def test_an_id_in_two_splits_is_refused(tmp_path: Path):
    row = pin(records(1)[0])
    with pytest.raises(UserError, match=r"validation\.jsonl:1: kinds:train:r0 is pinned already"):
        build_one(task(tmp_path, records(3)), pin=write_pins(tmp_path / "pins", train=[row], validation=[row]))


def test_a_place_without_pins(tmp_path: Path):
    folder = task(tmp_path, records(3))
    with pytest.raises(UserError, match=r"recreate\.pin=.*/nowhere: there is no such file or folder"):
        build_one(folder, pin=str(tmp_path / "nowhere"))
    (tmp_path / "rows.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="the file's name must begin with its split"):
        build_one(folder, pin=str(tmp_path / "rows.jsonl"))


def test_pins_from_parquet_and_compressed_files(tmp_path: Path):
    rows = records(10)
    (tmp_path / "pins").mkdir()
    pq.write_table(pa.Table.from_pylist([pin(row) for row in rows[:4]]), tmp_path / "pins" / "validation.parquet")
    built = build_one(task(tmp_path, rows), pin=str(tmp_path / "pins"))
    assert of(built, "validation") == {f"kinds:train:r{number}" for number in range(4)}
    assert built.result.pinned == {"order of lists restored": 4}


def test_pinned_rows_move_between_source_splits(tmp_path: Path):
    """The authors cut validation from train, and called the source's validation test."""
    rows = {"train": records(12), "validation": records(4, "v")}
    text = template_text("kinds", data="x", templates=[TEMPLATE]).replace("data: x", "data_dir: kinds")
    published = {
        "train": [pin(row) for row in rows["train"][3:]],
        "validation": [pin(row) for row in rows["train"][:3]],
        "test": [pin(row, "validation") for row in rows["validation"]],
    }
    built = build_one(write_splits(tmp_path, "kinds", rows, text), pin=write_pins(tmp_path / "pins", **published))
    assert {split: of(built, split) for split in built.rows} == {
        split: {row["_instance_id"] for row in found} for split, found in published.items()
    }


def test_the_window_is_that_of_the_published_text(tmp_path: Path):
    """A row is measured with the text it gets, not with ours."""
    rows = records(3)
    long = " ".join(["many more words"] * 40)
    published = [pin(rows[0], input=f"Short {long}"), pin(rows[1], input="List the names. Short.")]
    records_here = [rows[0], {**rows[1], "text": long}, rows[2]]
    built = build_one(
        task(tmp_path, records_here),
        pin=write_pins(tmp_path / "pins", train=published),
        lost=True,
        tokenizer=str(SAMPLE),
        context_window=80,
    )
    assert of(built, "train") == {"kinds:train:r1"}
    assert built.result.pinned == {"text as published": 2}
    assert built.result.longest["train"] < 60
    assert next(iter(built.result.left_out.values())) == {"rows": 1, "first": ["kinds:train:r0"]}


def test_a_build_restores_pins_and_says_which_tasks_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = records(20)
    folder = task(tmp_path / "templates", rows)
    write_task(folder, "others")
    first = tmp_path / "first"
    assert build_rows(folder, first, seed=1) == 0
    (tmp_path / "pins").mkdir()
    for split, found in rows_of(first).items():
        lines = [json.dumps(row) + "\n" for row in found if row["_instance_id"].startswith("kinds:")]
        (tmp_path / "pins" / f"{split}.jsonl").write_text("".join(lines))
    assert build_rows(folder, tmp_path / "again", seed=2, pin=str(tmp_path / "pins")) == 0
    card = json.loads((tmp_path / "again" / "card.json").read_text())
    assert card["tasks"]["kinds"]["pinned"] == {"same text": 20} and card["tasks"]["others"]["pinned"] == {}
    printed = "".join(capsys.readouterr())
    assert "has no row of others" in next(line for line in printed.splitlines() if "recreate.pin" in line)
    assert build_rows(folder, tmp_path / "both", seed=2, pin=str(first)) == 0
    assert rows_of(tmp_path / "both") == rows_of(first)
    assert bytes_of(tmp_path / "both")["card.json"] != bytes_of(first)["card.json"]


def test_lists_are_compared_without_their_order():
    assert unordered('{"a": ["x", "y"], "b": 1}') == unordered('{"b": 1, "a": ["y", "x"]}')
    assert unordered('Kinds ["x", "y"], then [1]') == unordered('Kinds ["y", "x"], then [1]')
    assert unordered('["x", "y"]') != unordered('["x", "z"]')
    assert unordered("a, b") != unordered("b, a"), "only JSON lists have elements"
    assert unordered("[not JSON, [deep]]") == "[not JSON, [deep]]"
