"""Read a judge model's ratings, and define what an unreadable one counts as."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from sciriff.tasks.metrics.metric import ratio

RATINGS = (1, 2, 3, 4, 5)
RATING = re.compile(r"Rating:\s*(\d+)")
LONGEST = 1000
"""Most digits of a number that is read; Python refuses more than 4,300."""
SAMPLE_SIZE, SAMPLE_SEED = 100, 42


def read_rating(response: str) -> int | None:
    """The number after the first `Rating:` followed by one; None unless it is from 1 to 5."""
    found = RATING.search(response)
    if found is None or len(found[1]) > LONGEST:
        return None
    rating = int(found[1])
    return rating if rating in RATINGS else None


def read_decision(response: str) -> int | None:
    """The whole text after the first `Decision:` (else `Rating:`) as a rating; None unless it is from 1 to 5."""
    marker = "Decision:" if "Decision:" in response else "Rating:"
    decision = response.partition(marker)[2].strip()
    return int(decision) if decision in map(str, RATINGS) else None


def all_instances(instances: int) -> list[int]:
    """Positions of all instances."""
    return list(range(instances))


def sample_of_100(instances: int) -> list[int]:
    """Positions of the instances that the published numbers judge; the same for every model."""
    return sorted(random.Random(SAMPLE_SEED).sample(range(instances), min(SAMPLE_SIZE, instances)))


class JudgeCounts(NamedTuple):
    points: float
    """0 for a rating of 1 up to 1 for a rating of 5."""
    rated: float


UNRATED = JudgeCounts(0, 0)


@dataclass(frozen=True)
class JudgeRule:
    """How a task's judge responses become a score."""

    read: Callable[[str], int | None]
    """Reads the rating in a response; None if it has none."""
    unreadable: int | None
    """Rating that an unreadable response counts as; None leaves the instance out of the mean."""
    missing_answer: int | None
    """Rating of a missing answer, given without calling the judge; None calls it."""
    sample: Callable[[int], list[int]]
    """Number of instances -> positions of those to judge."""

    def count(self, rating: int | None) -> JudgeCounts:
        """Counts of one judged instance; None is an unreadable response."""
        rating = self.unreadable if rating is None else rating
        return UNRATED if rating is None else JudgeCounts((rating - 1) / 4, 1)


def judge_scores(sums: JudgeCounts) -> dict[str, float]:
    """Mean rating in [0, 1] and the number of ratings."""
    return {"avg_rating": ratio(sums.points, sums.rated), "n_samples": sums.rated}


QASPER_JUDGE = JudgeRule(read=read_rating, unreadable=3, missing_answer=1, sample=all_instances)
MUP_JUDGE = JudgeRule(read=read_decision, unreadable=None, missing_answer=None, sample=sample_of_100)
