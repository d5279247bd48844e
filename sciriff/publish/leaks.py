"""Look through what would be pushed for secrets of this machine, and for its places: home folder, run folder, paths."""

import json
import mmap
import netrc
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sciriff.config import Config, as_dict
from sciriff.publish.pushed_files import CARD, Item
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|JWT|COOKIE|AUTH(?!OR)|_PAT$", re.IGNORECASE)
"""In the name of an environment variable whose value is nobody's business."""
LOGIN_IN_ADDRESS = re.compile(r"://[^/@\s]*:[^/@\s]+@")
"""In the value of one, as of DATABASE_URL."""
SHAPES = re.compile(
    rb"\b(hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{32,}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40,}|AKIA[0-9A-Z]{16}"
    rb"|wandb_v\d_\w{40,})\b|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""Keys and tokens by their form, whoever's they are. Rows and vocabularies are not searched for these."""
NO_SHAPES = (".jsonl", "tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model")
SHORTEST = 12
"""Characters of a value that is looked for; `true`, `0` and words of a vocabulary are no secrets."""
NOT_SEARCHED = (".safetensors",)
SAYS_PLACES = (CARD, "config.json", ".index.json")
"""Ends of names of files that are searched for paths, too: in rows and vocabularies /root and /home are words."""
OWN_NAMES = ("_name_or_path", "name_or_path", "base_model_name_or_path")
"""Keys under which libraries keep where a model was loaded from."""


def secrets(environment: Mapping[str, str], *others: str | None) -> dict[str, bytes]:
    """Where a secret stands -> its bytes, of the environment, ~/.netrc (W&B's login) and the `others`, as the hub's
    stored login."""
    found = {
        f"${name}": value
        for name, value in sorted(environment.items())
        if SECRET.search(name) or LOGIN_IN_ADDRESS.search(value)
    }
    found |= {f"the password of {host} in ~/.netrc": value for host, value in _logins()}
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
            try:
                values = json.loads(item.content.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{item.content}: not JSON ({error})") from None
            if isinstance(values, dict) and any(_is_folder(values.get(key)) for key in OWN_NAMES):
                kept = {key: value for key, value in values.items() if key not in OWN_NAMES or not _is_folder(value)}
                kept |= {key: None for key in OWN_NAMES[2:] if key in values and key not in kept}  # peft reads it
                item = Item(item.name, (json.dumps(kept, indent=2) + "\n").encode())
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
            if not item.name.endswith(NO_SHAPES) and (found := SHAPES.search(data)):
                begins = found[0][:8].decode()
                raise UserError(f"{item.name} holds a key ({begins}...), so nothing is pushed; take it out")
            if item.name.endswith(SAYS_PLACES):
                for path in sorted(local, key=len, reverse=True):
                    if re.search(rb"(?<![\w.-])" + re.escape(path.encode()) + rb"(?![\w-]|\.\w)", data):
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


def _logins() -> Iterator[tuple[str, str]]:
    """(host, password) of ~/.netrc; nothing where it is missing or broken."""
    try:
        known = netrc.netrc(Path.home() / ".netrc").hosts
    except (OSError, netrc.NetrcParseError):
        return
    yield from ((host, password) for host, (_, _, password) in known.items() if password)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("/", "~", "./", "../", "file:"))


def _is_folder(value: Any) -> bool:
    """Whether a model's name leads to a folder of this machine, as `runs/mine/model` does."""
    try:
        return _is_path(value) or (isinstance(value, str) and value != "" and Path(value).is_dir())
    except (OSError, ValueError):  # too long, or with a character that no path has
        return False


def _paths(values: Any) -> Iterator[str]:
    """Absolute paths among the values of a config, at any depth."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _paths(value)
    elif isinstance(values, str) and values.startswith("/"):
        yield values
