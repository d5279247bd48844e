"""Read back the card of a build, and the examples beside it. A file that is none is one line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from sciriff.recreate.build import ALL_EXAMPLES, TASKS
from sciriff.recreate.card import CARD
from sciriff.recreate.examples import Count, TaskExamples
from sciriff.run.json_lines import read_jsonl
from sciriff.run.typed_json import typed
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

MOST_BYTES = 32_000_000
"""Size of a file that is read; the card of all 54 tasks has 400 kB, their examples have 4 MB."""
LONGEST_ERROR = 300

T = TypeVar("T")


@dataclass(frozen=True)
class SplitCounts:
    """A number for each split."""

    train: Count
    validation: Count
    test: Count

    @property
    def all(self) -> int:
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class SplitTokens:
    """Tokens for each split; None where no tokenizer was given."""

    train: Count | None
    validation: Count | None
    test: Count | None

    @property
    def known(self) -> list[int]:
        return [count for count in (self.train, self.validation, self.test) if count is not None]


@dataclass(frozen=True)
class LeftOut:
    rows: Count
    first: list[str]


@dataclass(frozen=True)
class FileName:
    name: str
    digest: str


@dataclass(frozen=True)
class SourceEntry:
    files: dict[str, str]
    """Name -> digest."""
    hub: str | None = None
    incomplete: str | None = None


@dataclass(frozen=True)
class TaskEntry:
    """What the card says of a task; `sciriff.recreate.card.task_entry` writes it."""

    templates: list[int]
    read: dict[str, Count]
    rows: SplitCounts
    input_tokens: SplitTokens
    output_tokens: SplitTokens
    longest: SplitTokens
    left_out: dict[str, LeftOut]
    pinned: dict[str, Count]
    license: str
    lost: list[str]
    metadata: dict[str, str | list[str] | None]
    template_file: FileName
    source: SourceEntry
    metric: str | None = None


Shared = TypedDict("Shared", {"records": Count, "shared": Count, "with": dict[str, Count], "by": dict[str, Count]})


@dataclass(frozen=True)
class BuildCard:
    settings: dict[str, bool | int | str | list[int] | None]
    rows: SplitCounts
    digests: dict[str, str]
    shared_documents: dict[str, Shared]
    tasks: dict[str, TaskEntry]
    not_at_hand: dict[str, str]
    failed: dict[str, str]


def read_card(folder: Path) -> BuildCard:
    """Read the card of a build. UserError for a folder without one, and for a file that is none."""
    path = folder / CARD
    if not path.is_file():
        raise UserError(f"{folder}: no {CARD} is here; name the folder recreate.out of a build that has ended")
    _refuse_huge(path)
    try:
        return typed(json.loads(path.read_bytes()), BuildCard)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not the card of a build ({_line(error)}); build the rows again") from None


def read_examples(folder: Path, tasks: Sequence[str]) -> dict[str, TaskExamples]:
    """Read the examples of these tasks; a build of rows that were copied elsewhere without its `.tasks` has none."""
    path = folder / TASKS / ALL_EXAMPLES
    if not path.is_file():
        return {}
    _refuse_huge(path)
    try:
        found = {examples.task: examples for examples in read_jsonl(path, TaskExamples)}
    except UserError as error:
        raise UserError(f"{_line(error)}; remove the file for a page without rows, or build them again") from None
    return {task: found[task] for task in tasks if task in found}


def _refuse_huge(path: Path) -> None:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise UserError(f"{path}: {size:,} bytes; a file that a build wrote has at most {MOST_BYTES:,}")


def _line(error: Any) -> str:
    return shortened(visible_line(error), LONGEST_ERROR)
