"""The files of a finished model, adapter or mix that may be pushed: a fixed list, whatever else a folder holds."""

import re
from dataclasses import dataclass
from pathlib import Path

from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

CARD = "README.md"
WEIGHTS = {
    "model": re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"),
    "adapter": re.compile(r"adapter_model\.safetensors"),
    "mix": re.compile(r"(train|validation)\.jsonl"),
}
"""What -> names of its large files. Those that an earlier push has and this one lacks are removed from the branch: of
one file and of shards, whoever loads the repository would take the older."""
SMALL = {
    "model": (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "chat_template.jinja",
        "preprocessor_config.json",
        "processor_config.json",
        "video_preprocessor_config.json",
    ),
    "adapter": ("adapter_config.json",),
    "mix": (),
}
NEEDED = {"model": "config.json", "adapter": "adapter_config.json", "mix": "train.jsonl"}
"""The file without which the folder holds nothing finished."""


@dataclass(frozen=True)
class Item:
    """One file of a push: its name in the repository, and its text or where it lies."""

    name: str
    content: bytes | Path

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def of_folder(what: str, folder: Path) -> tuple[list[Item], list[str]]:
    """The files of a finished folder without its card, sorted by name, and the names of those that stay here.

    UserError where nothing is finished, and for a link that leads out of the folder.
    """
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if NEEDED[what] not in names or not any(map(WEIGHTS[what].fullmatch, names)):
        stages = "mix" if what == "mix" else "train, or merge,"
        raise UserError(f"publish.what names {what}, and {folder} holds none that is finished: add {stages} to stages")
    items, left = [], []
    for path in sorted(folder.iterdir()):
        if path.name == CARD or path.name.startswith("."):
            continue
        if path.name not in SMALL[what] and not WEIGHTS[what].fullmatch(path.name):
            left.append(path.name)
        else:
            refuse_link(path)
            items.append(Item(path.name, path))
    return items, left


def refuse_link(path: Path) -> None:
    """UserError for what is no file of its own folder, as a link that leads out of it."""
    if not path.is_file() or path.resolve().parent != path.parent.resolve():
        raise UserError(f"{visible_line(path)} is not a plain file of its folder, and is not pushed; remove it")


def text_of_card(path: Path, title: str) -> str:
    """The card that a stage wrote, or its title where there is none. UserError for a link, and for what is not text."""
    if not path.exists() and not path.is_symlink():
        return f"# {title}\n"
    refuse_link(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{visible_line(path)} is not UTF-8 ({error}); run the stage that writes it again") from None
