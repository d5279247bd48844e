"""Look through what would be pushed for secrets of this machine, and for its places: home folder, run folder, paths."""

import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sciriff.config import Config, as_dict
from sciriff.publish.pushed_files import CARD, Item
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|JWT", re.IGNORECASE)
"""In the name of an environment variable whose value is nobody's business."""
SHORTEST = 12
"""Characters of a value that is looked for; `true`, `0` and words of a vocabulary are no secrets."""
NOT_SEARCHED = (".safetensors",)
SAYS_PLACES = (CARD, "config.json", ".index.json")
"""Ends of names of files that are searched for paths, too: in rows and vocabularies /root and /home are words."""
OWN_NAMES = ("_name_or_path", "name_or_path", "base_model_name_or_path")
"""Keys under which libraries keep where a model was loaded from."""


def secrets(environment: Mapping[str, str], *others: str | None) -> dict[str, bytes]:
    """Where a secret stands -> its bytes, of the environment and the `others`, as the hub's stored login."""
    found = {f"${name}": value for name, value in sorted(environment.items()) if SECRET.search(name)}
    found |= {f"secret {number}": value for number, value in enumerate(others, 1) if value}
    return {name: value.encode() for name, value in found.items() if len(value) >= SHORTEST and not _is_path(value)}


def places(config: Config, run: RunDir) -> set[str]:
    """Paths of this machine that a card or a config might name: those of the config, the run's, home and current."""
    known = {*_paths(as_dict(config)), str(run.root), str(run.root.resolve()), str(Path.cwd()), str(Path.home())}
    return {path for path in known if len(path) > len("/x")}


def without_place(items: Iterable[Item]) -> Iterator[Item]:
    """The same files; in JSON without the local folder that a library noted as the model's name."""
    for item in items:
        if item.name.endswith("config.json") and isinstance(item.content, Path):
            text = item.content.read_text(encoding="utf-8")
            try:
                values = json.loads(text)
            except ValueError as error:
                raise UserError(f"{item.content}: not JSON ({error})") from None
            if isinstance(values, dict) and any(_is_path(values.get(key)) for key in OWN_NAMES):
                kept = {key: value for key, value in values.items() if key not in OWN_NAMES or not _is_path(value)}
                kept |= {key: None for key in OWN_NAMES[2:] if key in values and key not in kept}  # peft reads it
                item = Item(item.name, (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode())
        yield item


def refuse(items: Iterable[Item], hidden: Mapping[str, bytes], local: Iterable[str]) -> None:
    """UserError for the first file with a secret, or with a path of this machine in a card or a config. The message
    names the variable, and not its value."""
    for item in items:
        if item.name.endswith(NOT_SEARCHED) or not item.size:
            continue
        with _bytes(item) as data:
            for name, value in hidden.items():
                if data.find(value) >= 0:
                    raise UserError(f"{item.name} holds the value of {name}, so nothing is pushed; take it out")
            if item.name.endswith(SAYS_PLACES):
                for path in sorted(local, key=len, reverse=True):
                    if re.search(rb"(?<![\w.-])" + re.escape(path.encode()) + rb"(?![\w.-])", data):
                        raise UserError(
                            f"{item.name} names {path}, a place on this machine, so nothing is pushed; take it out"
                        )


class _bytes:
    """The content of a file as something that has `find`, without reading it whole."""

    def __init__(self, item: Item) -> None:
        self._content = item.content

    def __enter__(self) -> "bytes | mmap.mmap":
        if isinstance(self._content, bytes):
            return self._content
        with self._content.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def __exit__(self, *_: object) -> None:
        if isinstance(self._content, Path):
            self._map.close()


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and (value.startswith(("/", "~", "./", "../")))


def _paths(values: Any) -> Iterator[str]:
    """Absolute paths among the values of a config, at any depth."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _paths(value)
    elif isinstance(values, str) and values.startswith("/"):
        yield values
