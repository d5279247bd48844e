"""Reading the rating in a judge's response, and sampling the instances to judge."""

import json
from pathlib import Path

import pytest

from sciriff.tasks.metrics.judge_rating import (
    MUP_JUDGE,
    QASPER_JUDGE,
    UNRATED,
    JudgeCounts,
    all_instances,
    judge_scores,
    read_decision,
    read_rating,
    sample_of_100,
)

GOLDEN = Path(__file__).parents[3].parent / "shared" / "golden"


@pytest.mark.parametrize(
    ("response", "rating"),
    [
        ("Good.\nRating: 4", 4),
        ("Rating:5/5", 5),
        ("Rating: 4.5", 4),
        ("Rating: 05", 5),
        ("Rating: ٤", 4),
        ("Rating: good, so Rating: 2", 2),
        ("Rating: 0", None),
        ("Rating: 45", None),
        ("Rating: " + "9" * 10_000, None),
        ("Rating: -1", None),
        ("rating: 5", None),
        ("", None),
    ],
)
def test_read_rating(response: str, rating: int | None):
    assert read_rating(response) == rating


@pytest.mark.parametrize(
    ("response", "rating"),
    [
        ("Good.\nDecision: 4", 4),
        ("Decision:\n\n5 ", 5),
        ("Rating: 2\nDecision: 3", 3),
        ("Rating: 2", 2),
        ("Decision: hard.\nDecision: 4", None),
        ("Decision: 4.", None),
        ("Decision: ٤", None),
        ("Decision: 6", None),
        ("decision: 4", None),
        ("", None),
    ],
)
def test_read_decision(response: str, rating: int | None):
    assert read_decision(response) == rating


def test_counts_of_ratings_and_unreadable_responses():
    assert QASPER_JUDGE.count(None) == JudgeCounts(0.5, 1)
    assert MUP_JUDGE.count(None) == UNRATED
    assert MUP_JUDGE.count(1) == JudgeCounts(0, 1)
    assert judge_scores(JudgeCounts(0.5 + 1, 2)) == {"avg_rating": 0.75, "n_samples": 2}
    assert judge_scores(UNRATED) == {"avg_rating": 0, "n_samples": 0}


def test_sampled_instances():
    assert all_instances(3) == [0, 1, 2]
    assert sample_of_100(3) == [0, 1, 2]
    sample = sample_of_100(500)
    assert len(set(sample)) == 100
    assert sample == sorted(sample)
    assert sample == sample_of_100(500)
    assert sample[:5] == [3, 12, 13, 15, 16]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference's results are not here")
def test_ratings_and_sample_of_the_reference():
    rows = [json.loads(line) for line in (GOLDEN / "judge/unit.jsonl").read_text().splitlines()]
    assert len(rows) == 50
    for row in rows:
        assert (read_rating(row["response"]) or QASPER_JUDGE.unreadable) == row["qasper_rating"], row
        decision = read_decision(row["response"])
        assert ("error" if decision is None else (decision - 1) / 4) == row["mup_decision"], row
    folder = GOLDEN / "mup_single_document_summarization/perturbed"
    sample = [json.loads(line)["row"] for line in (folder / "judge_sample.jsonl").read_text().splitlines()]
    predictions = (folder / "predictions.jsonl").read_text().splitlines()
    assert MUP_JUDGE.sample(len(predictions)) == sample
