"""Pins: published rows, or their ids alone, that restore what the authors' lost randomness decided.

They say which rows were sampled and how splits were cut. Where the order of a list was lost, or a text was drawn, they
give the text, too.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sciriff.config import SourceConfig
from sciriff.data.source_files import SUFFIXES
from sciriff.data.source_rows import read_rows
from sciriff.recreate.instance_id import without_template
from sciriff.recreate.template_file import SPLITS
from sciriff.run.json_lines import read_jsonl, write_jsonl
from sciriff.run.user_error import UserError

HUB_CONFIG = "4096"
"""Configuration of a hub data set that pins are read from, as of SciRIFF's own."""
LIST = re.compile(r"\[[^\[\]]*\]")


@dataclass(frozen=True)
class Pin:
    """One published row; without texts, it pins its split alone."""

    instance: str
    split: str
    input: str | None = None
    output: str | None = None


def write_pins(source: str, tasks: set[str], folder: Path) -> dict[str, Path]:
    """Read pins from a file, folder or hub data set and write one file a task into `folder`. UserError for a source
    without rows of these tasks, and for an id that stands twice."""
    pins: dict[str, dict[str, Pin]] = {}
    for split, where, row in _rows(source):
        instance = row.get("_instance_id")
        if not isinstance(instance, str) or instance.count(":") < 2:
            raise UserError(f"{where}: a pin needs an `_instance_id` of the form task:split:index")
        task = instance.partition(":")[0]
        if task not in tasks:
            continue
        texts = {key: value for key in ("input", "output") if isinstance(value := row.get(key), str)}
        if instance in pins.setdefault(task, {}):
            raise UserError(f"{where}: {instance} is pinned already; ids must differ")
        pins[task][instance] = Pin(instance, split, **texts)
    if not pins:
        raise UserError(f"recreate.pin={source} has no row of the tasks that are made")
    files = {}
    for task, rows in sorted(pins.items()):
        files[task] = folder / f"{task}.jsonl"
        write_jsonl(files[task], (asdict(pin) for _, pin in sorted(rows.items())))
    return files


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


class TaskPins:
    """The pins of one task."""

    def __init__(self, path: Path | None) -> None:
        pins = list(read_jsonl(path, Pin)) if path else []
        self.by_base = {without_template(pin.instance): pin for pin in pins}
        self._by_text: dict[str, list[Pin]] = {}
        for pin in pins:
            if pin.input is not None:
                self._by_text.setdefault(unordered(pin.input), []).append(pin)
        self.splits = {pin.split for pin in pins}

    def same_text(self, base: str, prompt: str, answer: str) -> Pin | None:
        """Return the pin with this id whose texts are these, but for the order of lists."""
        pin = self.by_base.get(base)
        return pin if pin and is_near(pin, prompt, answer) else None

    def by_text(self, prompt: str, answer: str) -> list[Pin]:
        """Return the pins with these texts, but for the order of lists, whatever their ids."""
        return [pin for pin in self._by_text.get(unordered(prompt), ()) if is_near(pin, prompt, answer)]


def is_near(pin: Pin, prompt: str, answer: str) -> bool:
    """Whether the pin has these texts, but for the order of lists."""
    if pin.input is None or pin.output is None:
        return False
    return unordered(pin.input) == unordered(prompt) and unordered(pin.output) == unordered(answer)


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
