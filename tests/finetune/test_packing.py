"""Packing: its guarantees for any lengths, its efficiency, and the micro-batches given to the model."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sciriff.config import SAMPLE
from sciriff.data.token_file import TokenFile, write_token_file
from sciriff.finetune import schedule
from sciriff.finetune.packing import Plan, balance, collate, efficiency, pack

SHARED = Path(__file__).parents[3] / "shared" / "data"


def cost(length: int) -> float:
    """Cost of a sequence in a 7B Llama, in units of a token: attention is a tenth more at 5,000 tokens."""
    return length + 2e-5 * length**2


def packed(lengths: list[int], ranks: int, budget: int) -> Plan:
    return pack(lengths, [cost(length) for length in lengths], ranks, budget)


@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=60),
    ranks=st.integers(1, 8),
    budget=st.integers(100, 400),
)
@example(
    lengths=[1] * 4 + [33] * 2 + [35] * 3 + [68] * 5, ranks=7, budget=100
)  # even costs alone would leave a micro-batch empty
def test_every_sequence_once_within_the_budget_and_as_many_micro_batches_on_each_rank(
    lengths: list[int], ranks: int, budget: int
) -> None:
    plan = packed(lengths, ranks, budget)
    assert len(plan) == ranks
    assert len({len(micro_batches) for micro_batches in plan}) == 1
    pieces = [piece for micro_batches in plan for piece in micro_batches]
    assert sorted(position for piece in pieces for position in piece) == list(range(len(lengths)))
    assert all(sum(lengths[position] for position in piece) <= budget for piece in pieces)
    assert plan == packed(lengths, ranks, budget)
    if len(lengths) >= ranks:
        assert all(any(micro_batches) for micro_batches in plan), "a rank without work"
    if len(lengths) >= len(pieces):
        assert all(pieces), "an empty micro-batch"
    assert 0 < efficiency(plan, lengths, budget) <= 1
    assert 0 < balance(plan, [cost(length) for length in lengths]) <= 1 + 1e-9


def test_a_rank_is_idle_only_where_there_are_too_few_sequences() -> None:
    assert packed([10] * 4, ranks=4, budget=1000) == [[[0]], [[1]], [[2]], [[3]]]
    assert packed([5], ranks=3, budget=10) == [[[0]], [[]], [[]]]


def test_where_even_shares_leave_no_room_the_fullest_that_has_some_is_taken() -> None:
    """An even distribution would leave no room for one of the items: 9 and 12."""
    lengths = [6, 5, 4, 3, 2]
    assert [sum(lengths[p] for p in piece) for piece in packed(lengths, ranks=1, budget=10)[0]] == [10, 10]


def log_normal(count: int) -> list[int]:
    """Lengths like those of the science half of the mix: log-normal, mean about 1,000, at most 4,096."""
    chance = random.Random(0)
    return [min(4096, max(16, round(chance.lognormvariate(math.log(1000) - 0.32, 0.8)))) for _ in range(count)]


def measured(lengths: list[int], ranks: int, per_step: int = 128) -> tuple[float, float, float, float]:
    """Pack an epoch; return its packing efficiency, the highest possible with steps of `per_step` sequences, the mean
    balance, and the tokens relative to micro-batches that are all as large as the largest of their step."""
    tokens = slots = fewest = largest = 0
    balances = []
    for step in range(schedule.steps_per_epoch(len(lengths), per_step)):
        mine = [lengths[row] for row in schedule.step_rows(step, len(lengths), per_step, seed=42)]
        plan = packed(mine, ranks, 8192)
        tokens += sum(mine)
        slots += 8192 * sum(len(share) for share in plan)
        fewest += 8192 * ranks * math.ceil(sum(mine) / (8192 * ranks))
        sizes = [sum(mine[position] for position in piece) for share in plan for piece in share]
        largest += len(sizes) * max(sizes)
        balances.append(balance(plan, [cost(length) for length in mine]))
    return tokens / slots, tokens / fewest, sum(balances) / len(balances), tokens / largest


@pytest.mark.parametrize(
    ("ranks", "per_step", "least"), [(1, 128, 0.96), (1, 512, 0.98), (8, 128, 0.82), (8, 1024, 0.95)]
)
def test_generated_lengths_are_packed_as_tight_as_steps_allow(ranks: int, per_step: int, least: float) -> None:
    """A step ends with its sequences, so the last micro-batch of each rank cannot always be full."""
    reached, possible, even, alike = measured(log_normal(10_240), ranks, per_step)
    assert least <= reached <= possible
    assert reached > 0.97 * possible
    assert even > 0.99
    assert alike > 0.97


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
@pytest.mark.slow
def test_the_shared_data_is_packed_as_tight_as_steps_allow() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer", model_max_length=1_000_000)
    rows = [json.loads(line) for line in (SHARED / "sciriff" / "train.jsonl").read_text().splitlines()]
    texts = [f"<|user|>\n{row['input']}\n<|assistant|>\n{row['output']}" for row in rows]
    lengths = [len(ids) + 2 for ids in tokenizer(texts)["input_ids"]]
    reached, possible, _, alike = measured(lengths, ranks=1)
    assert 0.99 * possible < reached <= possible
    assert reached > 0.95
    assert alike > 0.99
    assert measured(lengths, ranks=1, per_step=512)[0] > 0.97
    _, _, even, alike = measured(lengths, ranks=8)
    assert even > 0.99
    assert alike > 0.98


def two_rows(folder: Path) -> TokenFile:
    rows = [("a/0", [5, 6, 7], [True, False, True]), ("b/1", [8, 9], [False, True])]
    write_token_file(folder, rows)
    return TokenFile(folder)


def test_collate_packs_and_never_learns_a_first_token(tmp_path: Path) -> None:
    batch = collate(two_rows(tmp_path), [1, 0], vocabulary=10)
    assert batch.tokens.tolist() == [[8, 9, 5, 6, 7]]
    assert batch.targets.tolist() == [[False, True, False, False, True]]
    assert batch.positions.tolist() == [[0, 1, 0, 1, 2]]
    assert batch.lengths == (2, 3)


def test_no_rows_are_one_token_that_is_not_learnt(tmp_path: Path) -> None:
    batch = collate(two_rows(tmp_path), [], vocabulary=10)
    assert batch.tokens.shape == (1, 1)
    assert not batch.targets.any()


def test_a_token_without_an_embedding_names_its_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row b/1 has token 9, but the model has embeddings for 9"):
        collate(two_rows(tmp_path), [1], vocabulary=9)
