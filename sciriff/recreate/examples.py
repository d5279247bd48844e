"""Rows of a task that the page of a build shows, each beside the fields it was rendered of, and the lengths of all.

A worker keeps them while it builds, for the fields are nowhere afterwards. What is kept is small whatever the task is:
a few rows by our own rule, long texts without their middle, and a histogram.
"""

import bisect
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from sciriff.recreate.corpus import Record
from sciriff.recreate.instance_id import without_template
from sciriff.recreate.spool import Spool, Spooled
from sciriff.recreate.template_file import SPLITS, TemplateText
from sciriff.run.json_lines import dumps, write_jsonl
from sciriff.run.typed_json import read_json
from sciriff.run.visible import shortened
from sciriff.run.whole_file import write_whole

EXAMPLES = "examples.json"
"""File in the folder of a task; `ALL_EXAMPLES` of a build has a line for each task."""
CANDIDATES = 24
"""Records of a source split that may become examples: splits, pins and documents leave some of them out."""
PER_SPLIT = 3
TEXT = 10_000
"""Characters kept of an input, an output and a template."""
FIELD = 3_000
FIELDS = 40
RECORD = 12_000
"""Characters kept of all fields of a record; the fields after that have their names alone."""
ONE_LINE = 100
"""Characters up to which JSON stands on one line."""
BINS = 30

Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Unit = Literal["tokens", "characters"]
Side = Literal["input", "output"]


@dataclass(frozen=True)
class Candidate:
    """A record that may be shown: its place in the order of our rule, and its fields as text."""

    draw: bytes
    fields: dict[str, str]


@dataclass(frozen=True)
class Example:
    """One row as it was built, with the fields of its record."""

    id: str
    split: str
    template: int
    input: str
    output: str
    fields: dict[str, str]


@dataclass(frozen=True)
class Lengths:
    """How many texts have which length: the k-th of `counts` are those from k times `size` on."""

    size: Annotated[int, msgspec.Meta(ge=1, le=10**15)]
    counts: Annotated[list[Count], msgspec.Meta(min_length=1, max_length=BINS)]
    median: Count
    longest: Count


@dataclass(frozen=True)
class TaskExamples:
    """What the page shows of one task beside the card."""

    task: str
    templates: dict[str, TemplateText]
    """Number -> template, of the rows."""
    rows: list[Example]
    """Split by split in turn, so that the first few are of different splits."""
    unit: Unit
    """What the lengths count."""
    lengths: dict[Side, Lengths]


@dataclass
class Shortlist:
    """The records of a source split that our rule draws first."""

    _first: list[bytes] = field(default_factory=list)

    def admits(self, draw: bytes) -> bool:
        return len(self._first) < CANDIDATES or draw < self._first[-1]

    def add(self, draw: bytes) -> bool:
        """Enter a record whose rows are kept; returns whether it is still among the first."""
        if admitted := self.admits(draw):
            bisect.insort(self._first, draw)
            del self._first[CANDIDATES:]
        return admitted


class LengthCounter:
    """Counts lengths, so that memory is needed for different lengths alone."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, length: int) -> None:
        self._counts[length] += 1

    def lengths(self) -> Lengths:
        """Return the histogram, from 0 to the longest in at most BINS equal steps."""
        longest = max(self._counts, default=0)
        size = -(-(longest + 1) // BINS)
        bins: Counter[int] = Counter()
        for length, count in self._counts.items():
            bins[length // size] += count
        return Lengths(size, [bins[place] for place in range(longest // size + 1)], self._median(), longest)

    def _median(self) -> int:
        before, half = 0, (self._counts.total() + 1) // 2
        for length, count in sorted(self._counts.items()):
            before += count
            if before >= half:
                return length
        return 0


def shown_fields(fields: Record) -> dict[str, str]:
    """Return the fields that a template sees, as text: at most FIELDS, RECORD characters of them all together."""
    shown: dict[str, str] = {}
    left = RECORD
    for name, value in fields.items():
        if not str(name).startswith("_"):
            if len(shown) == FIELDS:
                break
            text = _as_text(value) if left > 0 else "(not shown: the fields above are long)"
            shown[shortened(str(name), ONE_LINE)] = text
            left -= len(text)
    return shown


def _as_text(value: Any) -> str:
    """Text as it is, else JSON: short on one line, long as far as it is shown."""
    if isinstance(value, str):
        return shortened(value, FIELD)
    try:
        line = _json_start(value, None, ONE_LINE)
        return line if len(line) <= ONE_LINE else _json_start(value, 1, FIELD)
    except (TypeError, ValueError, RecursionError):
        return f"({type(value).__name__}, which is no JSON)"


def _json_start(value: Any, indent: int | None, longest: int) -> str:
    """Format the first characters of JSON without formatting the rest, which may be huge."""
    parts: list[str] = []
    length = 0
    for part in json.JSONEncoder(ensure_ascii=False, indent=indent, default=_other).iterencode(value):
        parts.append(part[: longest + 1])
        length += len(part)
        if length > longest:
            return "".join(parts)[:longest] + " …"
    return "".join(parts)


def _other(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else f"({type(value).__name__})"


def write_task_examples(
    folder: Path,
    task: str,
    templates: Mapping[int, TemplateText],
    candidates: Iterable[tuple[str, Candidate, list[Spooled]]],
    spool: Spool,
    unit: Unit,
    lengths: Mapping[Side, LengthCounter],
) -> None:
    """Choose examples among `candidates` (split, record, its renderings) and write them, in turn of each template."""
    by_split: dict[str, list[tuple[Candidate, list[Spooled]]]] = {split: [] for split in SPLITS}
    for split, candidate, rows in candidates:
        by_split[split].append((candidate, rows))
    for found in by_split.values():
        found.sort(key=lambda one: one[0].draw)
    examples: list[Example] = []
    for place in range(PER_SPLIT):
        for split, found in by_split.items():
            if place < len(found):
                candidate, rows = found[place]
                row = rows[len(examples) % len(rows)]
                texts = {key: shortened(text, TEXT) for key, text in spool.content(row).items()}
                examples.append(Example(row.instance, split, row.template, **texts, fields=candidate.fields))
    used = {
        str(number): TemplateText(
            shortened(text.jinja, TEXT), text.answer_choices and shortened(text.answer_choices, FIELD)
        )
        for number, text in sorted(templates.items())
        if any(example.template == number for example in examples)
    }
    histograms = {name: counter.lengths() for name, counter in lengths.items()}
    write_whole(folder / EXAMPLES, dumps(asdict(TaskExamples(task, used, examples, unit, histograms))) + "\n")


def write_examples(path: Path, folders: Mapping[str, Path], left_out: Mapping[str, Mapping[str, str]]) -> None:
    """Put the examples of finished tasks together, but those of the records `left_out` (task -> record -> why) of
    train."""
    write_jsonl(path, _examples(folders, left_out))


def _examples(folders: Mapping[str, Path], left_out: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    for task, folder in sorted(folders.items()):
        if not (folder / EXAMPLES).is_file():  # kept from an earlier version
            continue
        found = read_json(folder / EXAMPLES, TaskExamples, "examples of a task", "remove the folder to build it again")
        unwanted = left_out.get(task, {})
        rows = [row for row in found.rows if row.split != "train" or without_template(row.id) not in unwanted]
        yield asdict(found) | {"rows": [asdict(row) for row in rows]}
