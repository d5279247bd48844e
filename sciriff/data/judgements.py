"""The judge's responses on disk: rows that are only ever added, and which of them belong to the current answers.

judgements/<task>.jsonl keeps every paid response. judgements/asked.json holds by task the prompt that each answer was
judged by and a digest of the answers, so that rows about earlier answers do no harm.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from sciriff.data.records import AnswerKey, Judgement, Keyed, Rating, named
from sciriff.run.digest import value_digest
from sciriff.run.json_lines import dumps, read_json_objects, read_jsonl, record
from sciriff.run.typed_json import FromOne, read_json
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole

RATED = "rated"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class AskedOfJudge:
    """The judge's questions about one task."""

    answers: str
    """`answers_digest` of the judged answers."""
    prompts: dict[AnswerKey, str]
    """Answer -> prompt_digest of its row."""


class _WrittenAsked(TypedDict):
    """The same in asked.json: instance id -> digest, or -> digests by the number of the sample."""

    answers: str
    prompts: dict[str, str | dict[int, str]]


@dataclass(frozen=True)
class JudgedAnswer(Keyed):
    """The part of a row that scoring reads. Rows of other tools have no digest."""

    instance_id: str
    rating: Rating | None = None
    """None if the response could not be read."""
    judge: str = "unknown"
    prompt_digest: str | None = None
    sample: FromOne | None = None


def answers_digest(answers: Iterable[tuple[str, int | None, str]]) -> str:
    """Digest of answers in order: instance id, number of the sample or None, text."""
    return value_digest([[i, text] if sample is None else [i, sample, text] for i, sample, text in answers])


def read_asked(path: Path) -> dict[str, AskedOfJudge] | None:
    """Read the questions by task; None without the file, as beside rows of other tools."""
    if not path.is_file():
        return None
    written = read_json(path, dict[str, _WrittenAsked], "what the judge was asked", "run the judge stage again")
    by_task = {}
    for task, asked in written.items():
        samples = {i: {1: digests} if isinstance(digests, str) else digests for i, digests in asked["prompts"].items()}
        prompts = {(i, sample): digest for i, digests in samples.items() for sample, digest in digests.items()}
        by_task[task] = AskedOfJudge(asked["answers"], prompts)
    return by_task


def write_asked(path: Path, asked: dict[str, AskedOfJudge]) -> None:
    """Write asked.json atomically."""
    written: dict[str, _WrittenAsked] = {}
    for task, questions in asked.items():
        samples: dict[str, dict[int, str]] = {}
        for (instance_id, sample), digest in questions.prompts.items():
            samples.setdefault(instance_id, {})[sample] = digest
        prompts = {i: digests[1] if digests.keys() == {1} else digests for i, digests in samples.items()}
        written[task] = {"answers": questions.answers, "prompts": prompts}
    write_whole(path, dumps(written) + "\n")


def read_ratings(
    path: Path, answers: Container[AnswerKey], asked: AskedOfJudge | None
) -> dict[AnswerKey, JudgedAnswer]:
    """Answer -> its row, among the rows that `asked` names, or all.

    The later of two rows for the same prompt counts: the judge was asked again with more tokens. UserError names file
    and line of a row that is broken, belongs to none of the answers, or is a duplicate without `asked` to choose.
    """
    ratings: dict[AnswerKey, JudgedAnswer] = {}
    places: dict[AnswerKey, str] = {}
    for place, values in read_json_objects(path):
        row = record(values, JudgedAnswer, place)
        if asked is not None and asked.prompts.get(row.key) != row.prompt_digest:
            continue
        if row.key not in answers:
            raise UserError(f"{place}: instance {named(row.key)} has no prediction; judge these predictions again")
        if row.key in ratings and asked is None:
            raise UserError(f"{place}: instance {named(row.key)} stands here twice, first at {places[row.key]}")
        ratings[row.key], places[row.key] = row, place
    return ratings


def read_rows(path: Path) -> Iterator[Judgement]:
    """Read every row of a file. UserError names file and line of a broken one."""
    return read_jsonl(path, Judgement, "not a judgement as this stage writes them: move the file away")
