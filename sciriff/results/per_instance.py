"""The numbers of each answer that scores are made of, saved so that runs can be compared without scoring again.

One line of per_instance/<task>.jsonl is one answer: {"instance_id", "reference" (a digest), "unreadable" (a kind or
null)}, where there are several of each instance the number of the "sample", and the numbers of the task's metric, of
BLEU and of the judge, by their names. Scores are formulas of the sums.
"""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.run.records import AnswerKey, named, read_json_objects, write_jsonl
from sciriff.run.user_error import UserError
from sciriff.tasks.task import Scored, Task

DIGITS = 16
"""Of the digest of a reference (SHA-256, hexadecimal): enough to see that two runs were given different ones."""

LARGEST = sys.float_info.max


@dataclass(frozen=True)
class InstanceNumbers:
    """One answer in numbers."""

    reference: str
    """Digest of the text that was expected."""
    vector: tuple[float, ...]
    """As Task.vector has it: one number per name in Task.fields."""
    unreadable: str | None = None
    """Why it could not be read, one of UNREADABLE; None where it could."""


def write_per_instance(path: Path, task: Task, answers: Iterable[tuple[str, int | None, str, Scored]]) -> None:
    """Write (instance id, sample or None, text of the reference, the scored answer) of each answer, in this order."""
    write_jsonl(
        path,
        [
            {
                "instance_id": instance_id,
                "reference": hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS],
                "unreadable": scored.unreadable,
                **({} if sample is None else {"sample": sample}),
                **dict(zip(task.fields, map(_number, task.vector(scored)), strict=True)),
            }
            for instance_id, sample, reference, scored in answers
        ],
    )


def read_per_instance(path: Path, task: Task) -> dict[AnswerKey, InstanceNumbers]:
    """What was written, by answer. UserError names file and line of a row that is not such a row."""
    found: dict[AnswerKey, InstanceNumbers] = {}
    for number, row in read_json_objects(path):
        instance_id, reference, unreadable = row.get("instance_id"), row.get("reference"), row.get("unreadable")
        sample = row.get("sample", 1)
        vector: list[Any] = [row.get(name) for name in task.fields]
        texts = isinstance(instance_id, str) and isinstance(reference, str)
        if not texts or type(sample) is not int or not _are_numbers(vector):
            raise UserError(
                f"{path}:{number}: not the numbers of an answer to {task.name} as this version writes them; "
                "run the score stage again"
            )
        key = (str(instance_id), sample)
        if key in found:
            raise UserError(f"{path}:{number}: instance {named(key)} stands here twice; run the score stage again")
        known = unreadable if isinstance(unreadable, str) else None
        found[key] = InstanceNumbers(str(reference), tuple(vector), known)
    return found


def _number(value: float) -> float:
    """True as 1, so that the file holds numbers alone."""
    return int(value) if isinstance(value, bool) else value


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= LARGEST for v in values)
