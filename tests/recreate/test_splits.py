"""Splits are cut by SciRIFF's arithmetic, by a rule that no order changes."""

import random

import pytest

from sciriff.recreate.splits import cut, sizes
from sciriff.run.user_error import UserError


@pytest.mark.parametrize(
    ("counts", "expected"),
    [  # rows of a source and of the authors' splits
        ({"train": 1362, "test": 272}, {"validation": 272}),
        ({"train": 714, "test": 303}, {"validation": 143}),
        ({"train": 432, "test": 262}, {"validation": 86}),
        ({"train": 450, "test": 100}, {"validation": 90}),
        ({"train": 919, "validation": 340}, {"validation": 184}),
        ({"train": 940, "validation": 317}, {"validation": 188}),
        ({"train": 2500}, {"validation": 500, "test": 500}),
        ({"train": 10, "validation": 3, "test": 4}, {}),
    ],
)
def test_sizes(counts: dict[str, int], expected: dict[str, int]):
    assert {name: rows for name, (_, rows) in sizes(counts).items()} == expected


def ids(split: str, count: int) -> list[str]:
    return [f"task:{split}:{number}" for number in range(count)]


def test_the_other_split_becomes_test_and_order_changes_nothing():
    source = {"train": ids("train", 50), "validation": ids("validation", 7)}
    first = cut(source, "task", 1, {})
    assert {one for one, split in first.split_of.items() if split == "test"} == set(source["validation"])
    assert sum(split == "validation" for split in first.split_of.values()) == 7
    shuffled = {split: random.Random(3).sample(members, len(members)) for split, members in source.items()}
    assert cut(shuffled, "task", 1, {}).split_of == first.split_of
    assert cut(source, "task", 2, {}).split_of != first.split_of
    assert cut(source, "other", 1, {}).split_of != first.split_of


def test_validation_and_test_alone_cannot_be_cut():
    with pytest.raises(UserError, match=r"recreate\.split=source"):
        cut({"validation": ids("validation", 3), "test": ids("test", 3)}, "task", 1, {})


def test_a_pinned_split_has_its_pins_alone():
    source = {"train": ids("train", 20), "test": ids("test", 5)}
    pinned = dict.fromkeys(source["train"][:3], "validation") | dict.fromkeys(source["test"][:2], "test")
    result = cut(source, "task", 1, pinned)
    of = {split: {one for one in result.split_of if result.split_of[one] == split} for split in ("validation", "test")}
    assert of == {"validation": set(source["train"][:3]), "test": set(source["test"][:2])}
    assert result.left_out == {"not among the pinned rows of its split": source["test"][2:]}


def test_documents_stay_together():
    source = {"train": ids("train", 60), "validation": ids("validation", 10)}
    documents = {one: [f"d{number // 3}"] for number, one in enumerate(source["train"])}
    documents |= {one: [f"d{number}", f"v{number}"] for number, one in enumerate(source["validation"])}
    result = cut(source, "task", 1, {}, documents)
    by_split = {
        split: {document for one, other in result.split_of.items() if other == split for document in documents[one]}
        for split in ("train", "validation", "test")
    }
    assert by_split["train"].isdisjoint(by_split["validation"] | by_split["test"])
    assert 8 <= sum(split == "validation" for split in result.split_of.values()) <= 15
    assert result.left_out, "rows of train that share a document with the source's validation"
