"""The judge's answers on disk: rows that are only ever added, and a list of which of them belong to today's answers.

judgements/<task>.jsonl keeps every response that was paid for. judgements/asked.json says, by task, which prompt each
answer was judged by and what the answers were, so that rows for answers of an earlier day do no harm.
"""

import json
import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sciriff.run.digest import value_digest
from sciriff.run.records import AnswerKey, Judgement, dumps, named, read_json_objects
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole
from sciriff.tasks.metrics.judge_rating import RATINGS

RATED = "rated"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Asked:
    """What the judge was asked about one task."""

    answers: str
    """answers_digest of what was judged."""
    prompts: dict[AnswerKey, str]
    """Answer -> prompt_digest of its row."""

    @classmethod
    def read(cls, answers: str, prompts: Any) -> "Asked":
        """From what `written` has made. UserError for anything else."""
        if not isinstance(prompts, dict):
            raise UserError("the prompts of a task must be an object")
        of_samples = {i: given if isinstance(given, dict) else {"1": given} for i, given in prompts.items()}
        return cls(answers, {(i, int(n)): digest for i, given in of_samples.items() for n, digest in given.items()})

    def written(self) -> dict[str, Any]:
        """As JSON: instance id -> digest, or where it has samples their numbers -> digests."""
        by_instance: dict[str, dict[str, str]] = {}
        for (instance_id, sample), digest in self.prompts.items():
            by_instance.setdefault(instance_id, {})[str(sample)] = digest
        single = {i: given["1"] if given.keys() == {"1"} else given for i, given in by_instance.items()}
        return {"answers": self.answers, "prompts": single}


@dataclass(frozen=True)
class Rating:
    """What is needed of one row."""

    judge: str
    rating: int | None
    """1 to 5, or None where the response could not be read."""


def answers_digest(answers: Iterable[tuple[str, int | None, str]]) -> str:
    """The digest of answers in their order: instance id, number of the sample or None, text."""
    return value_digest([[i, text] if sample is None else [i, sample, text] for i, sample, text in answers])


def read_asked(path: Path) -> dict[str, Asked] | None:
    """What was asked, by task; None where nobody wrote it down, as beside rows of another hand."""
    if not path.is_file():
        return None
    try:
        return {task: Asked.read(**asked) for task, asked in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not what the judge was asked ({error}); run the judge stage again") from None


def write_asked(path: Path, asked: dict[str, Asked]) -> None:
    """Write it whole or not at all."""
    write_whole(path, dumps({task: one.written() for task, one in asked.items()}) + "\n")


def read_ratings(path: Path, answers: Container[AnswerKey], asked: Asked | None) -> dict[AnswerKey, Rating]:
    """Answer -> rating, of the rows that `asked` names, or of all. Of two rows of the same prompt the later counts: the
    judge was asked again with more room. UserError names file and line of a row that is broken, is of none of the
    answers, stands twice where `asked` does not choose, or has no rating that can be."""
    found: dict[AnswerKey, Rating] = {}
    places: dict[AnswerKey, str] = {}
    for number, row in read_json_objects(path):
        place = f"{path}:{number}"
        rating, key = row.get("rating"), _key_of(row)
        if asked is not None and (key is None or asked.prompts.get(key) != row.get("prompt_digest")):
            continue
        if key is None or key not in answers:
            which = f"the instance {row.get('instance_id')!r}" + (f", sample {key[1]}," if key and key[1] > 1 else "")
            raise UserError(f"{place}: {which} has no prediction; judge these predictions again")
        if key in found and asked is None:
            raise UserError(f"{place}: instance {named(key)} stands here twice, first at {places[key]}")
        if rating is not None and (isinstance(rating, bool) or rating not in RATINGS):
            raise UserError(f"{place}: rating={rating!r} must be a whole number from 1 to 5, or null")
        found[key] = Rating(str(row.get("judge", "unknown")), rating)
        places[key] = place
    return found


def _key_of(row: dict[str, Any]) -> AnswerKey | None:
    """Which answer a row rates; None where it does not say."""
    instance_id, sample = row.get("instance_id"), row.get("sample")
    known = isinstance(instance_id, str) and (sample is None or (type(sample) is int and sample > 0))
    return (str(instance_id), sample or 1) if known else None


def read_rows(path: Path) -> Iterator[Judgement]:
    """Every row of a file. UserError names file and line of one that is broken."""
    for number, row in read_json_objects(path):
        values = {field.name: row[field.name] for field in fields(Judgement) if field.name in row}
        texts = [values.get(name) for name in ("instance_id", "judge", "prompt_digest", "response", "status")]
        whole = [values.get(name, 0) for name in ("input_tokens", "output_tokens")]
        whole.append(values.get("sample") or 1)
        if not all(isinstance(text, str) for text in texts) or not all(type(count) is int for count in whole):
            raise UserError(f"{path}:{number}: not a judgement as this stage writes them; move the file away")
        reason, limit = values.get("finish_reason"), values.get("limit")
        if not isinstance(reason, str | None) or not (limit is None or type(limit) is int):
            raise UserError(f"{path}:{number}: finish_reason must be a text and limit a whole number, or null")
        usd = values.get("usd")
        if usd is not None and not (type(usd) in (int, float) and 0 <= usd < math.inf):
            raise UserError(f"{path}:{number}: usd={usd!r} must be a number of US dollars, or null")
        rating = values.get("rating")
        if rating is not None and (type(rating) is not int or rating not in RATINGS):
            raise UserError(f"{path}:{number}: rating={rating!r} must be a whole number from 1 to 5, or null")
        yield Judgement(**{"rating": None, **values})


def count_ratings(ratings: Mapping[AnswerKey, Rating]) -> dict[str, Any]:
    """For scores.json: which judge, how many rows it rated, and how many of its responses could not be read."""
    return {
        "judge": "+".join(sorted({rating.judge for rating in ratings.values()})),
        "judged": len(ratings),
        "unreadable": sum(rating.rating is None for rating in ratings.values()),
    }
