"""The judge's answers on disk: rows that are only ever added, and a list of which of them belong to today's answers.

judgements/<task>.jsonl keeps every response that was paid for. judgements/asked.json says, by task, which prompt each
instance was judged by and what the answers were, so that rows for answers of an earlier day do no harm.
"""

import json
import math
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sciriff.digest import value_digest
from sciriff.metrics.judge_rating import RATINGS
from sciriff.records import Judgement, dumps, read_json_objects

RATED = "rated"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Asked:
    """What the judge was asked about one task."""

    answers: str
    """answers_digest of what was judged."""
    prompts: dict[str, str]
    """Instance id -> prompt_digest of its row."""


@dataclass(frozen=True)
class Rating:
    """What is needed of one row."""

    judge: str
    rating: int | None
    """1 to 5, or None where the response could not be read."""


def answers_digest(answers: Iterable[tuple[str, str]]) -> str:
    """The digest of (instance id, answer) pairs in their order."""
    return value_digest([list(pair) for pair in answers])


def read_asked(path: Path) -> dict[str, Asked] | None:
    """What was asked, by task; None where nobody wrote it down, as beside rows of another hand."""
    if not path.is_file():
        return None
    try:
        found = {task: Asked(**asked) for task, asked in json.loads(path.read_bytes()).items()}
        if not all(isinstance(asked.prompts, dict) for asked in found.values()):
            raise ValueError("the prompts of a task must be an object")
        return found
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not what the judge was asked ({error}); run the judge stage again") from None


def write_asked(path: Path, asked: dict[str, Asked]) -> None:
    """Write it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(dumps({task: asdict(one) for task, one in asked.items()}) + "\n", encoding="utf-8")
    partial.replace(path)


def read_ratings(path: Path, instances: Container[str], asked: Asked | None) -> dict[str, Rating]:
    """Instance id -> rating, of the rows that `asked` names, or of all. ValueError names file and line of a row that is
    broken, is of none of the instances, stands twice, or has no rating that can be."""
    found: dict[str, Rating] = {}
    places: dict[str, str] = {}
    for number, row in read_json_objects(path):
        place = f"{path}:{number}"
        instance_id, rating = row.get("instance_id"), row.get("rating")
        if asked is not None and (
            not isinstance(instance_id, str) or asked.prompts.get(instance_id) != row.get("prompt_digest")
        ):
            continue
        if not isinstance(instance_id, str) or instance_id not in instances:
            raise ValueError(f"{place}: the instance {instance_id!r} has no prediction; judge these predictions again")
        if instance_id in found:
            raise ValueError(f"{place}: instance {instance_id} stands here twice, first at {places[instance_id]}")
        if rating is not None and (isinstance(rating, bool) or rating not in RATINGS):
            raise ValueError(f"{place}: rating={rating!r} must be a whole number from 1 to 5, or null")
        found[instance_id] = Rating(str(row.get("judge", "unknown")), rating)
        places[instance_id] = place
    return found


def read_rows(path: Path) -> Iterator[Judgement]:
    """Every row of a file. ValueError names file and line of one that is broken."""
    for number, row in read_json_objects(path):
        values = {field.name: row[field.name] for field in fields(Judgement) if field.name in row}
        texts = [values.get(name) for name in ("instance_id", "judge", "prompt_digest", "response", "status")]
        tokens = [values.get(name, 0) for name in ("input_tokens", "output_tokens")]
        if not all(isinstance(text, str) for text in texts) or not all(type(count) is int for count in tokens):
            raise ValueError(f"{path}:{number}: not a judgement as this stage writes them; move the file away")
        usd = values.get("usd")
        if usd is not None and not (type(usd) in (int, float) and 0 <= usd < math.inf):
            raise ValueError(f"{path}:{number}: usd={usd!r} must be a number of US dollars, or null")
        rating = values.get("rating")
        if rating is not None and (type(rating) is not int or rating not in RATINGS):
            raise ValueError(f"{path}:{number}: rating={rating!r} must be a whole number from 1 to 5, or null")
        yield Judgement(**{"rating": None, **values})


def count_ratings(ratings: dict[str, Rating]) -> dict[str, Any]:
    """For scores.json: which judge, how many rows it rated, and how many of its responses could not be read."""
    return {
        "judge": "+".join(sorted({rating.judge for rating in ratings.values()})),
        "judged": len(ratings),
        "unreadable": sum(rating.rating is None for rating in ratings.values()),
    }
