"""Build the rows of one task: format, render, filter, cap and cut them, and write them sorted by id."""

import bisect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sciriff.config import RecreateConfig
from sciriff.recreate import splits
from sciriff.recreate.corpus import Record
from sciriff.recreate.documents import documents_of
from sciriff.recreate.examples import Candidate, LengthCounter, Shortlist, Side, Unit, shown_fields, write_task_examples
from sciriff.recreate.formatters import Format, formatter
from sciriff.recreate.instance_id import instance_id, rank, record_id, with_template
from sciriff.recreate.pinning import restore
from sciriff.recreate.pins import TaskPins
from sciriff.recreate.rendering import Renderer
from sciriff.recreate.source import raw_folder, source_of
from sciriff.recreate.spool import Spool, Spooled, by_id
from sciriff.recreate.template_file import SPLITS, TemplateFile, read_template_file
from sciriff.recreate.tokens import TokenCounter
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line
from sciriff.run.whole_file import whole, write_whole

RESERVE = 20
"""Tokens of the context window that SciRIFF leaves free."""
BATCH_TEXTS = 256
BATCH_CHARACTERS = 1 << 19
"""Texts of a batch for the tokenizer."""
FIRST = 5
"""Ids named in the card for each reason."""
DONE, DOCUMENTS, SPOOL = "done.json", "documents.jsonl", "rows.spool"


@dataclass(frozen=True)
class Settings:
    """What decides the rows of every task alike; the card has it."""

    context_window: int | None
    cap: int | None
    template: int | str | list[int]
    split: str
    seed: int
    tokenizer_digest: str | None

    @classmethod
    def of(cls, config: RecreateConfig, tokenizer_digest: str | None) -> "Settings":
        template = config.template if isinstance(config.template, int | str) else list(config.template)
        return cls(config.context_window, config.cap, template, config.split, config.seed, tokenizer_digest)


@dataclass(frozen=True)
class TaskRequest:
    """What a worker is to build."""

    file: str
    """Template file."""
    folder: str
    """Folder for the rows of the task."""
    key: str
    """Digest of all that decides the rows."""
    settings: Settings
    raw: str | None
    tokenizer: str | None
    pins: str | None
    text_is_lost: bool
    """Whether the authors drew text in an order that is lost, so that only a pin's own text can restore it."""


@dataclass
class TaskResult:
    """What was built. Everything in it is the same on every machine."""

    key: str
    templates: list[int]
    read: dict[str, int] = field(default_factory=dict)
    """Source split -> records."""
    rows: dict[str, int] = field(default_factory=dict)
    """Split -> rows."""
    input_tokens: dict[str, int | None] = field(default_factory=dict)
    output_tokens: dict[str, int | None] = field(default_factory=dict)
    longest: dict[str, int | None] = field(default_factory=dict)
    """Split -> tokens of its longest row."""
    left_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Reason -> {"rows", "first"}: how many, and the first ids."""
    pinned: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, instance: str) -> None:
        entry = self.left_out.setdefault(reason, {"rows": 0, "first": []})
        entry["rows"] += 1
        if len(entry["first"]) < FIRST:
            entry["first"].append(instance)


@dataclass
class _Waiting:
    """Renderings of one record that wait for their tokens to be counted."""

    order: tuple[bytes, int]
    base: str
    renderings: list[tuple[int, str, str]]
    documents: list[str]
    candidate: Candidate | None


@dataclass(order=True)
class _Kept:
    """A record under the cap, by the order in which our rule draws."""

    order: tuple[bytes, int]
    rows: list[Spooled] = field(compare=False)
    documents: list[str] = field(compare=False)
    candidate: Candidate | None = field(compare=False)
    """For a record that may be shown as an example."""


def build(request: TaskRequest, at: Callable[[str], None]) -> TaskResult:
    """Build a task's rows in its folder; `done.json` is written last. `at` is called with the place before each record.

    UserError names file, template, row and field of what cannot be built.
    """
    task = read_template_file(Path(request.file))
    folder = Path(request.folder)
    result = TaskResult(request.key, chosen_templates(task, request.settings.template))
    builder = _Builder(task, request, result, at)
    at("the source")
    source = source_of(task, raw_folder(Path(request.raw)) if request.raw else None).load()
    with closing(Spool(folder / SPOOL)) as spool:
        kept = {
            split: builder.split(split, source[split](), spool)
            for split in SPLITS
            if split in source and split not in task.skip_splits
        }
        if not any(result.read.values()):
            raise UserError(f"{task.path}: its source has no records, or skip_splits leaves out all that it has")
        builder.write(kept, spool, folder)
    (folder / SPOOL).unlink()
    write_whole(folder / DONE, json.dumps(asdict(result), indent=1) + "\n")
    return result


def chosen_templates(task: TemplateFile, template: int | str | list[int]) -> list[int]:
    """Return the numbers of the templates that are used, in order. UserError for one that the task lacks."""
    numbers = sorted(task.templates)
    if isinstance(template, str):
        return numbers
    if isinstance(template, int):
        if template not in numbers:
            raise UserError(f"{task.path} has no template {template}; it has {', '.join(map(str, numbers))}")
        return [template]
    chosen = [number for number in numbers if number in template]
    if not chosen:
        raise UserError(f"{task.path} has none of the templates {template}; it has {', '.join(map(str, numbers))}")
    return chosen


class _Builder:
    def __init__(self, task: TemplateFile, request: TaskRequest, result: TaskResult, at: Callable[[str], None]) -> None:
        self._task, self._request, self._result, self._at = task, request, result, at
        self._settings = request.settings
        self._renderer = Renderer(task, at)
        self._counter = TokenCounter(request.tokenizer) if request.tokenizer else None
        self._format: Format = formatter(task, self._counter, request.settings.context_window, request.settings.seed)
        self._pins = TaskPins(Path(request.pins) if request.pins else None)

    def split(self, split: str, records: Iterable[Record], spool: Spool) -> list[_Kept]:
        """Return what is kept of a source split, in the order of the source or, under a cap, of our rule."""
        kept: list[_Kept] = []
        waiting: list[_Waiting] = []
        seen: dict[str, str] = {}
        shortlist = Shortlist()
        cap = None if self._pins.splits else self._settings.cap  # what is pinned was sampled already

        def flush() -> None:
            for one, rows in self._counted(waiting, split):
                candidate = one.candidate if one.candidate and shortlist.add(one.candidate.draw) else None
                entry = _Kept(one.order, rows, one.documents, candidate)
                for row, (_, prompt, answer) in zip(rows, _fitting(one, rows), strict=True):
                    spool.add(row, {"input": prompt, "output": answer})
                if cap is None:
                    kept.append(entry)
                else:
                    bisect.insort(kept, entry)
                    del kept[cap:]
            waiting.clear()

        number = -1
        for number, record in enumerate(self._read(split, records)):
            place = f"{split} row {number}"
            self._at(place)
            one = record_id_of(record, number, self._place(place))
            draw = rank(self._settings.seed, f"{self._task.name}:{split}:sample", one)
            if cap is not None and len(kept) >= cap and (draw, 0) > kept[-1].order:
                continue  # neither rendered nor counted: it cannot be among the first
            order = draw if cap is not None else b""
            for part, fields in enumerate(self._formatted(record | {"_id": one}, place)):
                base = instance_id(self._task.name, split, record_id_of(fields, number, self._place(place), one))
                if base in seen:
                    raise UserError(f"{self._place(place)}: {base} is already {seen[base]}; ids must differ")
                seen[base] = place
                renderings, documents = self._rendered(base, fields, place), self._documents(record, fields, place)
                candidate = Candidate(draw, shown_fields(fields)) if not part and shortlist.admits(draw) else None
                waiting.append(_Waiting((order, part), base, renderings, documents, candidate))
            if _is_full(waiting):
                self._at(place)
                flush()
        flush()
        self._result.read[split] = number + 1
        return kept

    def _read(self, split: str, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            if not isinstance(record, dict):
                raise UserError(f"{self._place(split)}: a record must have named fields")
            yield record

    def _place(self, place: str) -> str:
        return f"{self._task.path}: {place}"

    def _formatted(self, record: Record, place: str) -> Iterator[Record]:
        try:
            yield from self._format(record)
        except KeyError as error:
            known = visible_line(", ".join(sorted(map(str, record))))[:200]
            raise UserError(
                f"{self._place(place)}: the formatter found no {visible_line(error)[:80]}; the record has {known}"
            ) from None
        except (ValueError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
            raise UserError(f"{self._place(place)}: {visible_line(error)[:300]}") from None

    def _rendered(self, base: str, fields: Record, place: str) -> list[tuple[int, str, str]]:
        numbers = self._result.templates
        if self._settings.template == "random":  # SciRIFF's own rule has the first for test
            first = base.split(":")[1] == "test"
            draw = int.from_bytes(rank(self._settings.seed, "template", base)[:8]) % len(numbers)
            numbers = numbers[:1] if first else [numbers[draw]]
        try:
            return [(number, *self._renderer.render(number, fields)) for number in numbers]
        except ValueError as error:
            raise UserError(f"{self._place(place)}, {error}") from None

    def _documents(self, record: Record, fields: Record, place: str) -> list[str]:
        try:
            return documents_of(record, fields)
        except UserError as error:
            raise UserError(f"{self._place(place)}: {error}") from None

    def _counted(self, waiting: list[_Waiting], split: str) -> Iterator[tuple[_Waiting, list[Spooled]]]:
        """Yield the records of which a rendering fits the window, with these."""
        texts = [text for one in waiting for _, prompt, answer in one.renderings for text in (prompt, answer)]
        lengths = iter(self._counter.lengths(texts) if self._counter else [])
        window = self._settings.context_window
        for one in waiting:
            rows = []
            for template, _, _ in one.renderings:
                tokens = (next(lengths), next(lengths)) if self._counter else None
                if window is not None and tokens and sum(tokens) > window - RESERVE:
                    reason = f"longer than recreate.context_window={window} less {RESERVE}"
                    self._result.leave_out(reason, with_template(one.base, template))
                else:
                    rows.append(Spooled(with_template(one.base, template), one.base, split, template, tokens))
            if rows:
                yield one, rows

    def write(self, kept: Mapping[str, list[_Kept]], spool: Spool, folder: Path) -> None:
        """Cut the kept records into splits and write the rows, sorted by id, and their documents."""
        self._at("the splits")
        everything = [entry for entries in kept.values() for entry in entries]
        self._result.pinned = restore(
            self._pins, [entry.rows for entry in everything], spool, self._request.text_is_lost
        )
        documents = {entry.rows[0].base: entry.documents for entry in everything}
        ids = {split: [entry.rows[0].base for entry in entries] for split, entries in kept.items()}
        pinned = {base: pin.split for base, pin in self._pins.by_base.items() if base in documents}
        together = documents if self._settings.split == "document" else None
        if self._settings.split == "source" or not self._task.standardize_splits:
            cut = splits.Cut({one: split for split, members in ids.items() for one in members})
        else:
            try:
                cut = splits.cut(ids, self._task.name, self._settings.seed, pinned, together)
            except UserError as error:
                raise UserError(f"{self._task.path}: {error}") from None
        for reason, left_out in cut.left_out.items():
            for base in sorted(left_out):
                self._result.leave_out(reason, base)
        rows = by_id(row for entry in everything for row in entry.rows)
        metadata = self._task.metadata.of_row
        with whole(folder / DOCUMENTS) as file:
            for base, split in sorted(cut.split_of.items()):
                file.write(json.dumps({"id": base, "split": split, "documents": documents[base]}) + "\n")
        lengths: dict[Side, LengthCounter] = {"input": LengthCounter(), "output": LengthCounter()}
        for split in SPLITS:
            chosen = [row for row in rows if cut.split_of.get(row.base) == split]
            with whole(folder / f"{split}.jsonl") as file:
                for row in chosen:
                    self._at(f"writing {split}")
                    content = spool.content(row)
                    line = content | {"metadata": metadata, "_instance_id": row.instance}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    for place, name in enumerate(lengths):
                        lengths[name].add(row.tokens[place] if row.tokens else len(content[name]))
            self._count(split, chosen)
        candidates = [
            (cut.split_of[entry.rows[0].base], entry.candidate, entry.rows)
            for entry in everything
            if entry.candidate and entry.rows[0].base in cut.split_of
        ]
        unit: Unit = "tokens" if self._counter else "characters"
        write_task_examples(folder, self._task.name, self._task.templates, candidates, spool, unit, lengths)

    def _count(self, split: str, rows: list[Spooled]) -> None:
        result, counted = self._result, [row.tokens for row in rows if row.tokens]
        result.rows[split] = len(rows)
        result.input_tokens[split] = sum(tokens[0] for tokens in counted) if self._counter else None
        result.output_tokens[split] = sum(tokens[1] for tokens in counted) if self._counter else None
        result.longest[split] = max(map(sum, counted), default=0) if self._counter else None


def record_id_of(record: Record, number: int, place: str, default: str | None = None) -> str:
    """Return the id of a record; UserError with the place."""
    try:
        return record_id(record if "_id" in record or default is None else {"_id": default}, number)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def _fitting(one: _Waiting, rows: list[Spooled]) -> list[tuple[int, str, str]]:
    templates = {row.template for row in rows}
    return [rendering for rendering in one.renderings if rendering[0] in templates]


def _is_full(waiting: list[_Waiting]) -> bool:
    texts = [text for one in waiting for _, *pair in one.renderings for text in pair]
    return len(texts) >= BATCH_TEXTS or sum(map(len, texts)) >= BATCH_CHARACTERS
