import itertools
import random
from collections import Counter

import pytest

from sciriff.mix.recipe import (
    Candidate,
    by_task,
    capped,
    general_rows,
    in_turn,
    over_epochs,
    ranked,
    shuffled,
    text_digest,
    without_duplicates,
)
from sciriff.run.json_lines import Message
from sciriff.tasks import HELD_OUT
from sciriff.tasks.catalogue import catalogue

ROWS = [
    Candidate(f"science.{task}", f"{task}:train:{i}", bytes([i, ord(task)]), 100 * i)
    for i in range(60)
    for task in "ab"
]


def everything(rows: list[Candidate]) -> list[None]:
    return [None] * len(rows)


def names(rows: list[Candidate]) -> list[str]:
    return [row.name for row in rows]


def reordered(rows: list[Candidate]) -> list[Candidate]:
    """The same rows as if they had been read in another order."""
    mixed = random.Random(1).sample(rows, len(rows))
    return [Candidate(row.dataset, row.id, row.text, place) for place, row in enumerate(mixed)]


def once(rows: list[Candidate]) -> list[tuple[int, Candidate]]:
    return over_epochs(rows, 1.0)


def test_a_sample_does_not_depend_on_the_order_of_reading() -> None:
    assert names(ranked(ROWS, "sample", 7)) == names(ranked(reordered(ROWS), "sample", 7))
    assert names(shuffled(once(ROWS), 7)) == names(shuffled(once(reordered(ROWS)), 7))
    assert names(ranked(ROWS, "sample", 7)) != names(ranked(ROWS, "sample", 8))
    assert names(shuffled(once(ROWS), 7)) != names(shuffled(once(ROWS), 8))


def test_the_order_is_fixed_for_all_time() -> None:
    """The order belongs to the seed: a mix that is built again must be the same."""
    assert [row.id for row in ranked(ROWS[:8], "sample", 76)] == [
        "a:train:2",
        "a:train:3",
        "b:train:0",
        "b:train:1",
        "a:train:0",
        "a:train:1",
        "b:train:2",
        "b:train:3",
    ]
    assert [row.id for row in shuffled(once(ROWS[:8]), 76)] == [
        "b:train:0",
        "a:train:2",
        "a:train:3",
        "b:train:2",
        "a:train:0",
        "b:train:1",
        "a:train:1",
        "b:train:3",
    ]


def test_first_takes_rows_as_they_were_read() -> None:
    rows = reordered(ROWS)
    assert ranked(rows, "first", 7) == rows


def test_a_larger_cap_contains_a_smaller_one() -> None:
    order = ranked(ROWS, "sample", 3)
    kept = [set(capped(order, cap, everything).kept) for cap in (0, 1, 5, 50, None)]
    assert [len(rows) for rows in kept] == [0, 1, 5, 50, len(ROWS)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(kept))


def test_a_capped_task_does_not_come_first_in_the_mix() -> None:
    kept = ranked(ROWS, "sample", 3)[:30]
    halves = shuffled(once(kept), 3)[:15], shuffled(once(kept), 3)[15:]
    ranks = {row: rank for rank, row in enumerate(kept)}
    means = [sum(ranks[row] for row in half) / 15 for half in halves]
    assert abs(means[0] - means[1]) < 8


def test_rows_that_are_refused_make_room_for_others() -> None:
    asked: list[Candidate] = []

    def even(rows: list[Candidate]) -> list[str | None]:
        asked.extend(rows)
        return [None if row.place % 200 == 0 else "odd" for row in rows]

    order = [row for row in ROWS if row.dataset == "science.a"]
    chosen = capped(order, 10, even)
    assert [row.place // 100 for row in chosen.kept] == list(range(0, 20, 2))
    assert list(chosen.refused) == ["odd"]
    assert [row.place // 100 for row in chosen.refused["odd"]] == list(range(1, 18, 2))
    assert len(asked) == 19 and chosen.over == order[19:]
    assert capped(order, None, even).over == []


def test_duplicates_keep_the_first() -> None:
    rows = [Candidate("a", str(i), text, i) for i, text in enumerate([b"x", b"y", b"x", b"z", b"y"])]
    seen = {b"z"}
    first, again = without_duplicates(rows, seen)
    assert [row.id for row in first] == ["0", "1"] and [row.id for row in again] == ["2", "3", "4"]
    assert seen == {b"x", b"y", b"z"}


def test_a_text_is_its_roles_and_contents() -> None:
    def digest(*turns: tuple[str, str]) -> bytes:
        return text_digest([Message(*turn) for turn in turns])

    assert digest(("user", "ab"), ("assistant", "c")) == digest(("user", "ab"), ("assistant", "c"))
    others = [(("user", "a"), ("assistant", "bc")), (("system", "ab"), ("assistant", "c")), (("user", "ab"),)]
    assert digest(("user", "ab"), ("assistant", "c")) not in [digest(*turns) for turns in others]


@pytest.mark.parametrize(("tulu", "rows"), [("none", 0), ("match", 35), ("all", None), (12, 12), (0, 0)])
def test_how_many_general_rows(tulu: str | int, rows: int | None) -> None:
    assert general_rows(tulu, 35) == rows


@pytest.mark.parametrize(("weight", "rows"), [(2.0, 70), (0.5, 18), (1 / 3, 12), (1.0, 35)])
def test_a_weight_is_a_ratio_of_match(weight: float, rows: int) -> None:
    assert general_rows("match", 35, weight) == rows


def test_epochs_repeat_rows_and_a_part_takes_the_first() -> None:
    rows = ranked(ROWS, "sample", 3)
    assert over_epochs(rows, 1.0) == [(0, row) for row in rows]
    assert over_epochs(rows, 2.0) == [(0, row) for row in rows] + [(1, row) for row in rows]
    assert over_epochs(rows, 2.25) == over_epochs(rows, 2.0) + [(2, row) for row in rows[:30]]
    assert over_epochs(rows, 0.5) == [(0, row) for row in rows[:60]]
    assert [len(over_epochs(rows[:3], epochs)) for epochs in (0.1, 0.2, 0.5, 0.99, 1.5)] == [0, 1, 2, 3, 5]


def test_the_times_of_a_row_are_spread_over_the_mix() -> None:
    order = shuffled(over_epochs(ROWS, 2.0), 76)
    assert Counter(order) == Counter(dict.fromkeys(ROWS, 2))
    assert 70 < len(set(order[: len(ROWS)])) < len(ROWS)  # neither in pairs nor one pass after the other


def test_tasks_take_turns_in_a_seeded_order() -> None:
    groups = [ROWS[0:20:2], ROWS[1:5:2], []]
    order = in_turn(groups, "validation", 7)
    assert [row.dataset[-1] for row in order] in (
        list("abab" + "a" * 8),
        list("baab" + "a" * 8),
        list("abba" + "a" * 8),
        list("baba" + "a" * 8),
    )
    assert order == in_turn([list(reversed(group)) for group in reversed(groups)], "validation", 7)
    assert order != in_turn(groups, "validation", 8)


@pytest.mark.parametrize(("cap", "total"), [(100, 4144), (200, 8193), (500, 19695), (1000, 35357), (2500, 61349)])
def test_the_published_sizes(cap: int, total: int) -> None:
    held_out = {task.name for task in HELD_OUT}
    rows = [
        Candidate(entry.name, str(i), i.to_bytes(2, "big") + entry.name.encode(), i)
        for entry in catalogue().values()
        if entry.name not in held_out
        for i in range(entry.train)
    ]
    tasks = by_task(ranked(rows, "first", 76))
    kept = {task: len(capped(group, cap, everything).kept) for task, group in tasks.items()}
    assert len(kept) == 45 and sum(kept.values()) == total


def test_tasks_are_in_alphabetical_order() -> None:
    assert list(by_task(reordered(ROWS))) == ["science.a", "science.b"]
    assert Counter(row.dataset for row in ROWS) == {task: len(rows) for task, rows in by_task(ROWS).items()}
