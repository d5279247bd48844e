from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciriff.finetune.micro_batches import collate, cut
from sciriff.token_file import TokenFile, write_token_file


@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=60),
    ranks=st.integers(1, 8),
    budget=st.integers(100, 400),
)
def test_every_row_once_within_the_budget_and_as_many_micro_batches_on_each_rank(
    lengths: list[int], ranks: int, budget: int
) -> None:
    plan = cut(lengths, ranks, budget)
    assert len(plan) == ranks
    assert len({len(micro_batches) for micro_batches in plan}) == 1
    pieces = [piece for micro_batches in plan for piece in micro_batches]
    assert sorted(position for piece in pieces for position in piece) == list(range(len(lengths)))
    assert all(len(piece) * max(lengths[position] for position in piece) <= budget for piece in pieces if piece)


def test_a_rank_is_idle_only_where_there_are_too_few_rows() -> None:
    assert cut([10] * 8, ranks=4, micro_batch_tokens=1000) == [[[0, 1]], [[2, 3]], [[4, 5]], [[6, 7]]]
    assert cut([5], ranks=3, micro_batch_tokens=10) == [[[0]], [[]], [[]]]


def test_the_micro_batches_that_wait_for_each_other_are_alike() -> None:
    lengths = [90, 50] * 4
    for first, second in zip(*cut(lengths, ranks=2, micro_batch_tokens=100), strict=True):
        assert {lengths[i] for i in first} == {lengths[i] for i in second}


def test_little_is_padded() -> None:
    lengths = list(range(1, 101))
    padded = sum(len(piece) * lengths[piece[0]] for piece in cut(lengths, 1, 400)[0])
    assert padded < 1.2 * sum(lengths)


def two_rows(folder: Path) -> TokenFile:
    rows = [("a/0", [5, 6, 7], [True, False, True]), ("b/1", [8, 9], [False, True])]
    write_token_file(folder, rows)
    return TokenFile(folder)


def test_collate_pads_on_the_right_and_never_learns_a_first_token(tmp_path: Path) -> None:
    batch = collate(two_rows(tmp_path), [1, 0], vocabulary=10)
    assert batch.tokens.tolist() == [[8, 9, 0], [5, 6, 7]]
    assert batch.targets.tolist() == [[False, True, False], [False, False, True]]


def test_no_rows_are_one_token_that_is_not_learnt(tmp_path: Path) -> None:
    batch = collate(two_rows(tmp_path), [], vocabulary=10)
    assert batch.tokens.shape == (1, 1)
    assert not batch.targets.any()


def test_a_token_without_an_embedding_names_its_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row b/1 has token 9, but the model has embeddings for 9"):
        collate(two_rows(tmp_path), [1], vocabulary=9)
