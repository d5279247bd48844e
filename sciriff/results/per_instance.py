"""The numbers of each answer that scores are made of, saved so that runs can be compared without scoring again.

One line of per_instance/<task>.jsonl is one answer: {"instance_id", "reference" (a digest), "unreadable" (a kind or
null)}, where it is known the digest of the "document" that the prompt is about, where there are several of each
instance the number of the "sample", and the numbers of the task's metric, of BLEU and of the judge, by their names.
Scores are formulas of the sums.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from sciriff.data.records import AnswerKey, named
from sciriff.run.json_lines import read_json_objects, write_jsonl
from sciriff.run.typed_json import FromOne, WrongType, typed
from sciriff.run.user_error import UserError
from sciriff.tasks.task import Scored, Task

DIGITS = 16
"""Hexadecimal digits of a reference's SHA-256: enough to see that two runs were given different references."""

Number = (
    Annotated[int, Meta(ge=-(2**53), le=2**53)] | Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
)


@dataclass(frozen=True)
class InstanceNumbers:
    """One answer in numbers: a line of the file."""

    instance_id: str
    reference: str
    """Digest of the expected text."""
    vector: tuple[Number, ...]
    """Task.vector: one number per name in Task.fields."""
    unreadable: str | None = None
    """Why it could not be read, one of UNREADABLE."""
    sample: FromOne = 1
    document: Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")] | None = None
    """Digest of the document that the instance is about, if known; earlier versions wrote none."""


def write_per_instance(
    path: Path,
    task: Task,
    answers: Iterable[tuple[str, int | None, str, Scored]],
    documents: Mapping[str, str | None] = {},
) -> None:
    """Write (instance id, sample or None, text of the reference, the scored answer) of each answer, in this order.
    `documents` are the digests of the documents by instance id."""
    write_jsonl(
        path,
        [
            {
                "instance_id": instance_id,
                "reference": hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS],
                "unreadable": scored.unreadable,
                **({} if (document := documents.get(instance_id)) is None else {"document": document}),
                **({} if sample is None else {"sample": sample}),
                # booleans as 0 and 1, so that the file holds numbers alone
                **{
                    name: int(value) if isinstance(value, bool) else value
                    for name, value in zip(task.fields, task.vector(scored), strict=True)
                },
            }
            for instance_id, sample, reference, scored in answers
        ],
    )


def read_per_instance(path: Path, task: Task) -> dict[AnswerKey, InstanceNumbers]:
    """Read the numbers by answer. UserError names file and line of a broken row."""
    found: dict[AnswerKey, InstanceNumbers] = {}
    for place, values in read_json_objects(path):
        vector = [values.get(name) for name in task.fields]
        try:
            row = typed({**values, "vector": vector}, InstanceNumbers)
        except WrongType as error:
            raise UserError(
                f"{place}: not the numbers of an answer to {task.name} as this version writes them ({error}); "
                "run the score stage again"
            ) from None
        key = row.instance_id, row.sample
        if key in found:
            raise UserError(f"{place}: instance {named(key)} stands here twice; run the score stage again")
        found[key] = row
    return found
