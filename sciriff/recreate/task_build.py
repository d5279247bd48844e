"""Build the rows of one task: format, render, filter, cap and cut them, and write them sorted by id."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

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
from sciriff.recreate.task_request import TaskRequest, TaskResult
from sciriff.recreate.template_file import SPLITS, TemplateFile, read_template_file
from sciriff.recreate.tokens import TokenCounter
from sciriff.run.json_lines import dumps
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line
from sciriff.run.whole_file import whole, write_whole
from sciriff.tasks.own import own_task

RESERVE = 20
"""Tokens of the context window that SciRIFF leaves free."""
BATCH_TEXTS = 256
BATCH_CHARACTERS = 1 << 19
"""Texts of a batch for the tokenizer."""
DONE, DOCUMENTS, SPOOL = "done.json", "documents.jsonl", "rows.spool"


@dataclass(slots=True)
class _Waiting:
    """Renderings of one record that wait for their tokens to be counted."""

    order: tuple[bytes, int]
    base: str
    renderings: list[tuple[int, str, str]]
    documents: list[str]
    candidate: Candidate | None


class _Batch:
    """Records whose renderings go to the tokenizer together."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.records: list[_Waiting] = []
        self._texts = self._characters = 0

    def add(self, one: _Waiting) -> None:
        self.records.append(one)
        self._texts += 2 * len(one.renderings)
        self._characters += sum(len(prompt) + len(answer) for _, prompt, answer in one.renderings)

    @property
    def is_full(self) -> bool:
        return self._texts >= BATCH_TEXTS or self._characters >= BATCH_CHARACTERS


@dataclass(slots=True)
class _Kept:
    """A record under the cap, by the order in which our rule draws."""

    order: tuple[bytes, int]
    rows: list[Spooled]
    documents: list[str]
    candidate: Candidate | None
    """For a record that may be shown as an example."""


@dataclass(slots=True)
class _TooLong:
    """A rendering that does not fit the window. Under a cap it counts if it came before the last that is kept."""

    order: tuple[bytes, int]
    instance: str


def _drawn(one: _Kept | _TooLong) -> tuple[bytes, int]:
    return one.order


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
        self._scored = own_task(task.name, task.metric) if task.metric else None

    def split(self, split: str, records: Iterable[Record], spool: Spool) -> list[_Kept]:
        """Return what is kept of a source split, in the order of the source or, under a cap, of our rule."""
        kept: list[_Kept] = []
        too_long: list[_TooLong] = []
        waiting = _Batch()
        seen: dict[str, int] = {}
        shortlist = Shortlist()
        cap = None if self._pins.by_base else self._settings.cap  # `_sampled` keeps what is pinned

        def flush() -> None:
            nonlocal kept, too_long
            for one, rows in self._counted(waiting, split, spool, too_long):
                candidate = one.candidate if one.candidate and shortlist.add(one.candidate.draw) else None
                kept.append(_Kept(one.order, rows, one.documents, candidate))
            waiting.clear()
            if cap is not None:
                kept = sorted(kept, key=_drawn)[:cap]
                if len(kept) == cap:
                    too_long = [one for one in too_long if one.order < kept[-1].order]

        number = -1
        for number, record in enumerate(self._read(split, records)):
            place = f"{split} row {number}"
            self._at(place)
            one = record_id_of(record, number, self._place(place))
            draw = rank(self._settings.seed, f"{self._task.name}:{split}:sample", one)
            if cap is not None and len(kept) >= cap and (draw, 0) > kept[-1].order:
                continue  # neither rendered nor counted: it cannot be among the first
            order = draw if self._settings.cap is not None else b""
            for part, fields in enumerate(self._formatted(record | {"_id": one}, place)):
                base = instance_id(self._task.name, split, record_id_of(fields, number, self._place(place), one))
                if base in seen:
                    first = f"{split} row {seen[base]}"
                    raise UserError(f"{self._place(place)}: {base} is already {first}; ids must differ")
                seen[base] = number
                renderings, documents = self._rendered(base, fields, place), self._documents(record, fields, place)
                candidate = Candidate(draw, shown_fields(fields)) if not part and shortlist.admits(draw) else None
                waiting.add(_Waiting((order, part), base, renderings, documents, candidate))
            if waiting.is_full:
                self._at(place)
                flush()
        flush()
        for left in sorted(too_long, key=_drawn):
            self._result.leave_out(self._too_long, left.instance)
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

    def _counted(
        self, waiting: _Batch, split: str, spool: Spool, too_long: list[_TooLong]
    ) -> Iterator[tuple[_Waiting, list[Spooled]]]:
        """Yield the records of which a rendering fits the window, with these, which are in the spool."""
        texts = [text for one in waiting.records for _, *pair in one.renderings for text in pair]
        lengths = iter(self._counter.lengths(texts) if self._counter else [])
        for one in waiting.records:
            rows = []
            for template, prompt, answer in one.renderings:
                tokens = (next(lengths), next(lengths)) if self._counter else None
                row = Spooled(with_template(one.base, template), one.base, split, template, tokens)
                if self._fits(tokens) or self._pins.by_base:  # a pin may have another text; `_pinned` looks again
                    spool.add(row, {"input": prompt, "output": answer})
                    rows.append(row)
                else:
                    too_long.append(_TooLong(one.order, row.instance))
            if rows:
                yield one, rows

    def _fits(self, tokens: tuple[int, int] | None) -> bool:
        window = self._settings.context_window
        return window is None or tokens is None or sum(tokens) <= window - RESERVE

    @property
    def _too_long(self) -> str:
        return f"longer than recreate.context_window={self._settings.context_window} less {RESERVE}"

    def _pinned(self, kept: Mapping[str, list[_Kept]], spool: Spool) -> dict[str, list[_Kept]]:
        """Restore the pinned records of all source splits, and return those that fit the window and are pinned or, as
        far as the cap goes, drawn."""
        self._at("the pins")
        everything = [entry.rows for entries in kept.values() for entry in entries]
        self._result.pinned = restore(self._pins, everything, spool, self._request.text_is_lost, self._at)
        chosen = {}
        for split, entries in kept.items():
            self._recount([row for entry in entries for row in entry.rows if row.tokens is None], spool)
            for entry in entries:
                for row in entry.rows:
                    if not self._fits(row.tokens):
                        self._result.leave_out(self._too_long, row.instance)
                entry.rows = [row for row in entry.rows if self._fits(row.tokens)]
            chosen[split] = self._sampled([entry for entry in entries if entry.rows])
        return chosen

    def _recount(self, rows: list[Spooled], spool: Spool) -> None:
        """Count the tokens of rows whose text was restored."""
        size = BATCH_TEXTS // 2
        for start in range(0, len(rows) if self._counter else 0, size):
            assert self._counter is not None
            self._at("the tokens of pinned rows")
            batch = rows[start : start + size]
            contents = [spool.content(row) for row in batch]
            lengths = self._counter.lengths([content[key] for content in contents for key in ("input", "output")])
            for row, pair in zip(batch, zip(lengths[::2], lengths[1::2], strict=True), strict=True):
                row.tokens = pair

    def _sampled(self, entries: list[_Kept]) -> list[_Kept]:
        """Return all pinned records, and as many of the others as the cap has room for."""
        if self._settings.cap is None:
            return entries
        pinned = [entry for entry in entries if entry.rows[0].base in self._pins.by_base]
        others = [entry for entry in entries if entry.rows[0].base not in self._pins.by_base]
        return pinned + sorted(others, key=_drawn)[: max(0, self._settings.cap - len(pinned))]

    def write(self, kept: Mapping[str, list[_Kept]], spool: Spool, folder: Path) -> None:
        """Cut the kept records into splits and write the rows, sorted by id, and their documents."""
        kept = self._pinned(kept, spool) if self._pins.by_base else kept
        self._at("the splits")
        everything = [entry for entries in kept.values() for entry in entries]
        documents = {entry.rows[0].base: entry.documents for entry in everything}
        cut = self._cut(
            {split: [entry.rows[0].base for entry in entries] for split, entries in kept.items()}, documents
        )
        for reason, left_out in cut.left_out.items():
            for base in sorted(left_out):
                self._result.leave_out(reason, base)
        rows = by_id(row for entry in everything for row in entry.rows)
        with whole(folder / DOCUMENTS) as file:
            for base, split in sorted(cut.split_of.items()):
                file.write(dumps({"id": base, "split": split, "documents": documents[base]}) + "\n")
        metadata = dumps(self._task.metadata.of_row)
        lengths: dict[Side, LengthCounter] = {"input": LengthCounter(), "output": LengthCounter()}
        for split in SPLITS:
            chosen = [row for row in rows if cut.split_of.get(row.base) == split]
            with whole(folder / f"{split}.jsonl") as file:
                for row in chosen:
                    self._at(f"writing {split}")
                    if self._scored is not None and split != "train":
                        self._refuse_unscorable(row.instance, spool.content(row)["output"])
                    about = f', "metadata": {metadata}, "_instance_id": {dumps(row.instance)}}}\n'
                    file.buffer.write(spool.json(row).removesuffix(b"}") + about.encode())
                    sizes = row.tokens or map(len, spool.content(row).values())
                    for counter, size in zip(lengths.values(), sizes, strict=True):
                        counter.add(size)
            self._count(split, chosen)
        candidates = [
            (cut.split_of[entry.rows[0].base], entry.candidate, entry.rows)
            for entry in everything
            if entry.candidate and entry.rows[0].base in cut.split_of
        ]
        unit: Unit = "tokens" if self._counter else "characters"
        write_task_examples(folder, self._task.name, self._task.templates, candidates, spool, unit, lengths)

    def _refuse_unscorable(self, instance: str, answer: str) -> None:
        """UserError for an evaluation row by whose answer the task's metric could score no model."""
        assert self._scored is not None
        try:
            self._scored.score(answer, answer)
        except ValueError as error:
            reason = visible_line(error)[:200]
            raise UserError(
                f"{self._task.path}: metric={self._task.metric} cannot score {instance}: {reason}"
            ) from None

    def _cut(self, ids: Mapping[str, list[str]], documents: Mapping[str, list[str]]) -> splits.Cut:
        pinned = {base: pin.split for base, pin in self._pins.by_base.items() if base in documents}
        together = documents if self._settings.split == "document" else None
        if self._settings.split == "source":
            return splits.Cut({one: split for split, members in ids.items() for one in members})
        try:
            again = self._task.standardize_splits
            return splits.cut(ids, self._task.name, self._settings.seed, pinned, together, again)
        except UserError as error:
            raise UserError(f"{self._task.path}: {error}") from None

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
