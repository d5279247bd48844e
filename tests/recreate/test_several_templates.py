"""Several templates: all renderings of a record stay together, and a draw among them depends on seed and id alone."""

import random
from collections import Counter
from pathlib import Path

import pytest
from recreate_runs import template_text, write_task
from task_builds import build_one, write_splits

from sciriff.config import RecreateConfig
from sciriff.recreate.instance_id import without_template
from sciriff.run.user_error import UserError

THREE = ["First. {{ text }}|||{{ label }}", "Second. {{ text }}|||{{ label }}", "Third. {{ text }}|||{{ label }}"]
NAMES = ("First", "Second", "Third")


def records(count: int) -> list[dict]:
    return [{"_id": f"r{number}", "text": f"Text {number}.", "label": "a"} for number in range(count)]


def test_all_renderings_of_a_record_are_in_one_split_under_ids_of_their_own(tmp_path: Path):
    built = build_one(write_task(tmp_path, records=records(20), templates=THREE), template="all")
    ids = built.ids()
    assert len(set(ids)) == len(ids) == 60
    assert {split: len(rows) for split, rows in built.rows.items()} == {"train": 36, "validation": 12, "test": 12}
    splits: dict[str, set[str]] = {}
    for name, split in built.split_of().items():
        splits.setdefault(without_template(name), set()).add(split)
    assert all(len(found) == 1 for found in splits.values()) and len(splits) == 20
    for name, (prompt, _) in built.texts().items():
        suffix = {"First": "", "Second": ":t2", "Third": ":t3"}[prompt.partition(".")[0]]
        assert name == without_template(name) + suffix
    for rows in built.rows.values():
        found = [row["_instance_id"] for row in rows]
        assert found == sorted(found)
    assert set(built.documents) == set(splits), "documents are those of records"


def test_a_list_of_numbers_renders_with_those_that_a_task_has(tmp_path: Path):
    folder = write_task(tmp_path, records=records(5), templates=THREE)
    assert sorted(build_one(folder, template=[2, 0, 7]).ids()) == sorted(
        name for number in range(5) for name in (f"kinds:train:r{number}", f"kinds:train:r{number}:t3")
    )
    assert build_one(folder, template=1).result.templates == [1]
    assert all(name.endswith(":t2") for name in build_one(folder, template=1).ids())
    with pytest.raises(UserError, match=r"kinds\.yaml has no template 3; it has 0, 1, 2"):
        build_one(folder, template=3)
    with pytest.raises(UserError, match=r"kinds\.yaml has none of the templates \[5, 7\]; it has 0, 1, 2"):
        build_one(folder, template=[5, 7])
    for wrong in (-1, True, "some", [0, "all"], [], 1.5):
        with pytest.raises(UserError, match=r"recreate\.template"):
            RecreateConfig(template=wrong)


def test_a_template_is_drawn_by_seed_and_id_alone(tmp_path: Path):
    rows = records(300)
    build = lambda rows, **settings: build_one(  # noqa: E731
        write_task(tmp_path, records=rows, templates=THREE), template="random", split="source", **settings
    )
    first = build(rows)
    shares = Counter(prompt.partition(".")[0] for prompt, _ in first.texts().values())
    assert set(shares) == set(NAMES) and min(shares.values()) > 70
    assert build(random.Random(1).sample(rows, 300)).texts() == first.texts()
    some = build(rows[100:150]).texts()
    assert some == {name: first.texts()[name] for name in some}
    other = build(rows, seed=5).texts()
    assert 0.2 < sum(name in other for name in first.texts()) / 300 < 0.5, "another seed draws others"


def test_random_has_the_first_template_for_rows_of_the_source_test(tmp_path: Path):
    text = template_text("kinds", data="x", templates=THREE).replace("data: x", "data_dir: kinds")
    write_splits(tmp_path, "kinds", {split: records(40) for split in ("train", "validation", "test")}, text)
    built = build_one(tmp_path, template="random")
    kinds = {split: {row["input"].partition(".")[0] for row in rows} for split, rows in built.rows.items()}
    assert kinds == {"train": set(NAMES), "validation": set(NAMES), "test": {"First"}}


def test_renderings_are_filtered_one_by_one(tmp_path: Path):
    tokenizer = str(Path(__file__).parents[2] / "sciriff" / "sample" / "tokenizer")
    long = "Second. {{ text }}" + " so many more words" * 20 + "|||{{ label }}"
    folder = write_task(tmp_path, records=records(10), templates=[long, THREE[1]])
    built = build_one(folder, template="all", tokenizer=tokenizer, context_window=60)
    assert all(name.endswith(":t2") for name in built.ids()) and len(built.ids()) == 10
    (left,) = built.result.left_out.values()
    assert left["rows"] == 10 and not any(name.endswith(":t2") for name in left["first"])
