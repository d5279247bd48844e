"""The judge's answers on disk: rows that are only ever added, and a list of which of them belong to today's answers.

judgements/<task>.jsonl keeps every response that was paid for. judgements/asked.json says, by task, which prompt each
answer was judged by and what the answers were, so that rows for answers of an earlier day do no harm.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from sciriff.data.records import AnswerKey, Judgement, Rating, named
from sciriff.run.digest import value_digest
from sciriff.run.json_lines import dumps, read_json_objects, read_jsonl, record
from sciriff.run.typed_json import FromOne, read_json
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole

RATED = "rated"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class AskedOfJudge:
    """What the judge was asked about one task."""

    answers: str
    """answers_digest of what was judged."""
    prompts: dict[AnswerKey, str]
    """Answer -> prompt_digest of its row."""


class _WrittenAsked(TypedDict):
    """The same in asked.json: instance id -> digest, or where it has samples their numbers -> digests."""

    answers: str
    prompts: dict[str, str | dict[str, str]]


@dataclass(frozen=True)
class JudgedAnswer:
    """What is needed of one row: which answer it rates, by whom and how. Rows of another hand have no digest."""

    instance_id: str
    rating: Rating | None = None
    """None where the response could not be read."""
    judge: str = "unknown"
    prompt_digest: str | None = None
    sample: FromOne | None = None

    @property
    def key(self) -> AnswerKey:
        return self.instance_id, self.sample or 1


def answers_digest(answers: Iterable[tuple[str, int | None, str]]) -> str:
    """The digest of answers in their order: instance id, number of the sample or None, text."""
    return value_digest([[i, text] if sample is None else [i, sample, text] for i, sample, text in answers])


def read_asked(path: Path) -> dict[str, AskedOfJudge] | None:
    """What was asked, by task; None where nobody wrote it down, as beside rows of another hand."""
    if not path.is_file():
        return None
    what, fix = "what the judge was asked", "run the judge stage again"
    found = {}
    for task, asked in read_json(path, dict[str, _WrittenAsked], what, fix).items():
        of_samples = {i: {"1": given} if isinstance(given, str) else given for i, given in asked["prompts"].items()}
        try:
            prompts = {(i, int(n)): digest for i, given in of_samples.items() for n, digest in given.items()}
        except ValueError as error:
            raise UserError(f"{path}: not {what} ({error}); {fix}") from None
        found[task] = AskedOfJudge(asked["answers"], prompts)
    return found


def write_asked(path: Path, asked: dict[str, AskedOfJudge]) -> None:
    """Write it whole or not at all."""
    write_whole(path, dumps({task: _written(one) for task, one in asked.items()}) + "\n")


def _written(asked: AskedOfJudge) -> _WrittenAsked:
    by_instance: dict[str, dict[str, str]] = {}
    for (instance_id, sample), digest in asked.prompts.items():
        by_instance.setdefault(instance_id, {})[str(sample)] = digest
    single = {i: given["1"] if given.keys() == {"1"} else given for i, given in by_instance.items()}
    return {"answers": asked.answers, "prompts": single}


def read_ratings(
    path: Path, answers: Container[AnswerKey], asked: AskedOfJudge | None
) -> dict[AnswerKey, JudgedAnswer]:
    """Answer -> its row, of the rows that `asked` names, or of all.

    Of two rows of the same prompt the later counts: the judge was asked again with more room. UserError names file and
    line of a row that is broken, is of none of the answers, or stands twice where `asked` does not choose.
    """
    found: dict[AnswerKey, JudgedAnswer] = {}
    places: dict[AnswerKey, str] = {}
    for number, values in read_json_objects(path):
        place = f"{path}:{number}"
        row = record(values, JudgedAnswer, place)
        if asked is not None and asked.prompts.get(row.key) != row.prompt_digest:
            continue
        if row.key not in answers:
            raise UserError(f"{place}: instance {named(row.key)} has no prediction; judge these predictions again")
        if row.key in found and asked is None:
            raise UserError(f"{place}: instance {named(row.key)} stands here twice, first at {places[row.key]}")
        found[row.key], places[row.key] = row, place
    return found


def read_rows(path: Path) -> Iterator[Judgement]:
    """Every row of a file. UserError names file and line of one that is broken."""
    return read_jsonl(path, Judgement, "not a judgement as this stage writes them: move the file away")
