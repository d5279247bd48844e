"""Evidence Inference: findings of clinical trials, an abstract and its findings in each row of a CSV file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.delimited import csv_rows
from sciriff.run.typed_json import WrongType, typed
from sciriff.run.user_error import UserError

EFFECTS = ("significantly increased", "significantly decreased", "no significant difference")


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for where, row in csv_rows(files[0]):
        if missing := {"X", "Y"} - row.keys():
            raise UserError(f"{files[0]}: there is no column {min(missing)}")
        yield {
            "document": row["X"],
            "evidence": [_finding(where, *values) for values in _findings(where, row["Y"])],
            "_documents": [f"pmc:{row['PMCID']}"] if "PMCID" in row else [],  # the validation file alone has it
        }


def _findings(where: str, literal: str) -> list[tuple[str, str, str, str, str]]:
    """Read the findings, which the file has as a list in Python's notation; nothing in it is run."""
    try:
        return typed(ast.literal_eval(literal), list[tuple[str, str, str, str, str]])
    except WrongType as error:
        raise UserError(f"{where}: the findings in Y: {error}") from None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise UserError(f"{where}: Y is not a list of findings in Python's notation") from None


def _finding(where: str, intervention: str, outcome: str, comparator: str, evidence: str, marked: str) -> list[Any]:
    """Order a finding as [intervention, comparator, outcome, effect, evidence]."""
    label = re.search(r"\[LABEL\] (.*?) \[OUT\]", marked)
    if label is None or label[1] not in EFFECTS:
        raise UserError(f"{where}: a finding in Y has no [LABEL] of: {', '.join(EFFECTS)}")
    return [intervention, comparator, outcome, label[1], evidence]


SPLITS = {"train": "train", "validation": "dev", "test": "test"}

CORPORA = {
    "evidence_inference": (
        Corpus({split: (f"evidence_inference/{name}_wlabels.csv",) for split, name in SPLITS.items()}, _read),
    ),
}
