"""Read the ratings that a judge model wrote, and say what an unreadable one counts as."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from sciriff.tasks.metrics.metric import ratio

RATINGS = (1, 2, 3, 4, 5)
RATING = re.compile(r"Rating:\s*(\d+)")
LONGEST = 1000
"""Digits of a number that is looked at; Python refuses to read one of more than 4,300."""
SAMPLE_SIZE = 100
SAMPLE_SEED = 42


def read_rating(response: str) -> int | None:
    """The number after the first `Rating:` that has one, if it is a rating from 1 to 5."""
    found = RATING.search(response)
    if found is None or len(found[1]) > LONGEST:
        return None
    rating = int(found[1])
    return rating if rating in RATINGS else None


def read_decision(response: str) -> int | None:
    """All that follows the first `Decision:` (`Rating:` where there is none), if it is a rating from 1 to 5."""
    marker = "Decision:" if "Decision:" in response else "Rating:"
    decision = response.partition(marker)[2].strip()
    return int(decision) if decision in map(str, RATINGS) else None


def everything(instances: int) -> list[int]:
    """The positions of all instances."""
    return list(range(instances))


def sample_of_100(instances: int) -> list[int]:
    """The positions of the instances that the published numbers judge, the same for every model."""
    return sorted(random.Random(SAMPLE_SEED).sample(range(instances), min(SAMPLE_SIZE, instances)))


class JudgeCounts(NamedTuple):
    points: float
    """0 for a rating of 1 up to 1 for a rating of 5."""
    rated: float


UNRATED = JudgeCounts(0, 0)


@dataclass(frozen=True)
class JudgeRule:
    """How the judge's responses for one task become a score."""

    read: Callable[[str], int | None]
    """The rating in a response, None where it cannot be read."""
    unreadable: int | None
    """The rating that an unreadable response counts as; None leaves the instance out of the mean."""
    missing_answer: int | None
    """The rating of an answer that is missing, given without asking the judge; None asks."""
    sample: Callable[[int], list[int]]
    """How many instances there are -> positions of those to judge."""

    def count(self, rating: int | None) -> JudgeCounts:
        """The numbers of one judged instance; None is a response that could not be read."""
        rating = self.unreadable if rating is None else rating
        return UNRATED if rating is None else JudgeCounts((rating - 1) / 4, 1)


def judge_scores(sums: JudgeCounts) -> dict[str, float]:
    """The mean rating in [0, 1], and how many ratings it is the mean of."""
    return {"avg_rating": ratio(sums.points, sums.rated), "n_samples": sums.rated}


QASPER_JUDGE = JudgeRule(read=read_rating, unreadable=3, missing_answer=1, sample=everything)
MUP_JUDGE = JudgeRule(read=read_decision, unreadable=None, missing_answer=None, sample=sample_of_100)
