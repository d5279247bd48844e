"""Pins: published rows, or their ids alone, that restore what the authors' lost randomness decided.

They say which rows were sampled and how splits were cut. Where the order of a list was lost, or a text was drawn, they
give the text, too.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from sciriff.config import SourceConfig
from sciriff.data.source_files import SUFFIXES
from sciriff.data.source_rows import read_rows
from sciriff.recreate.instance_id import without_template
from sciriff.recreate.template_file import SPLITS
from sciriff.run.json_lines import dumps, record_of
from sciriff.run.messages import say
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line
from sciriff.run.whole_file import whole

HUB_CONFIG = "4096"
"""Configuration of a hub data set that pins are read from, as of SciRIFF's own."""
LIST = re.compile(r"\[[^\[\]]*\]")


@dataclass(frozen=True, slots=True)
class Texts:
    """Digests of input and output."""

    exact: bytes
    unordered: bytes
    """The order of lists does not count."""

    @classmethod
    def of(cls, prompt: str, answer: str) -> "Texts":
        return cls(_pair_digest(prompt, answer), _pair_digest(unordered(prompt), unordered(answer)))


def _pair_digest(*pair: str) -> bytes:
    return hashlib.sha256(json.dumps(pair).encode()).digest()[:16]


@dataclass(frozen=True)
class Pin:
    """One published row; without texts, it pins its split alone."""

    instance: str
    split: str
    input: str | None = None
    output: str | None = None


def write_pins(source: str, tasks: set[str], known: Collection[str], folder: Path) -> dict[str, Path]:
    """Read pins from a file, folder or hub data set and write one file a task into `folder`. UserError for a source
    without rows of `known` tasks, and for an id that stands twice."""
    files: dict[str, TextIO] = {}
    seen: set[str] = set()
    others = False
    with contextlib.ExitStack() as opened:
        for split, where, row in _rows(source):
            instance = row.get("_instance_id")
            if not isinstance(instance, str) or instance.count(":") < 2:
                raise UserError(f"{where}: a pin needs an `_instance_id` of the form task:split:index")
            task = instance.partition(":")[0]
            if task not in tasks:
                others |= task in known
                continue
            if instance in seen:
                raise UserError(f"{where}: {visible_line(instance)[:200]} is pinned already; ids must differ")
            seen.add(instance)
            pin = Pin(instance, split, *_row_texts(row, where))
            if task not in files:
                files[task] = opened.enter_context(whole(folder / f"{task}.jsonl"))
            files[task].write(dumps(asdict(pin)) + "\n")
    if not files and not others:
        raise UserError(
            f"recreate.pin={source} has no row of a task with a template file; rows are read from files whose names "
            f"begin with {', '.join(SPLITS)}"
        )
    if without := sorted(tasks - set(files)):
        say(f"recreate.pin={source} has no row of {', '.join(without)}; recreate.seed decides there")
    return {task: folder / f"{task}.jsonl" for task in sorted(files)}


def _row_texts(row: dict[str, Any], where: str) -> list[str]:
    """Input and output of a row, or nothing where it lacks one."""
    texts = [text for key in ("input", "output") if isinstance(text := row.get(key), str)]
    if len(texts) != 2:
        return []
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: its text has half a surrogate pair, which is no text") from None
    return texts


def _rows(source: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    path = Path(source).expanduser()
    if path.is_file():
        split = next((split for split in SPLITS if path.name.startswith(split)), None)
        if split is None:
            raise UserError(f"recreate.pin={source}: the file's name must begin with its split: {', '.join(SPLITS)}")
        yield from ((split, where, row) for where, row in read_rows(SourceConfig(path=source, split=split)))
    elif path.is_dir():
        names = [entry.name for entry in path.iterdir() if entry.name.endswith(SUFFIXES)]
        for split in SPLITS:
            if any(name.startswith(split) for name in names):
                yield from ((split, where, row) for where, row in read_rows(SourceConfig(path=source, split=split)))
    elif "/" in source and not source.startswith((".", "/", "~")) and source.count("/") == 1:
        for split in SPLITS:
            hub = SourceConfig(hub=source, config=HUB_CONFIG, split=split)
            yield from ((split, where, row) for where, row in read_rows(hub))
    else:
        raise UserError(f"recreate.pin={source}: there is no such file or folder")


@dataclass(frozen=True, slots=True)
class Pinned:
    """One pin of a task, without its texts, which may be many: digests to compare with, and where they stand."""

    instance: str
    split: str
    texts: Texts | None = None
    start: int = 0
    length: int = 0


class TaskPins:
    """The pins of one task; of several renderings of a record, those by the first template."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.by_base: dict[str, Pinned] = {}
        pins = sorted(_pinned(path), key=lambda pin: pin.instance) if path else []
        for pin in pins:
            base = without_template(pin.instance)
            if pin.instance == base or base not in self.by_base:
                self.by_base[base] = pin if pin.instance == base else Pinned(base, pin.split)
        self._by_texts: dict[bytes, list[Pinned]] = {}
        for pin in self.by_base.values():
            if pin.texts:
                self._by_texts.setdefault(pin.texts.unordered, []).append(pin)

    def same_texts(self, base: str, texts: Texts) -> Pinned | None:
        """Return the pin with this id whose texts are these, but for the order of lists."""
        pin = self.by_base.get(base)
        return pin if pin and pin.texts and pin.texts.unordered == texts.unordered else None

    def by_texts(self, texts: Texts) -> list[Pinned]:
        """Return the pins with these texts, but for the order of lists, whatever their ids."""
        return self._by_texts.get(texts.unordered, [])

    def content(self, pin: Pinned) -> dict[str, Any]:
        """Read input and output of a pin."""
        assert self._path is not None and pin.texts is not None
        with self._path.open("rb") as file:
            file.seek(pin.start)
            row = json.loads(file.read(pin.length))
        return {"input": row["input"], "output": row["output"]}


def _pinned(path: Path) -> Iterator[Pinned]:
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            pin = record_of(line, Pin, path, number)
            texts = None if pin.input is None or pin.output is None else Texts.of(pin.input, pin.output)
            yield Pinned(pin.instance, pin.split, texts, start, len(line))
            start += len(line)


def unordered(text: str) -> str:
    """Return a text in which the elements of all JSON lists are sorted, to compare by."""
    try:
        return _dumped(json.loads(text))
    except (ValueError, RecursionError):
        return LIST.sub(_sorted_list, text)


def _sorted_list(found: re.Match[str]) -> str:
    try:
        return _dumped(json.loads(found[0]))
    except (ValueError, RecursionError):
        return found[0]


def _dumped(value: Any) -> str:
    """JSON with the elements of lists sorted by their own JSON."""
    if isinstance(value, list):
        return "[" + ",".join(sorted(map(_dumped, value))) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_dumped(part)}" for key, part in sorted(value.items())) + "}"
    return json.dumps(value)
