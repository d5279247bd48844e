"""Compare the rows of a finished mix with the evaluation prompts and with each other, or take the cached results."""

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from sciriff.config import Config
from sciriff.data.mix_card import NearCard, OverlapCard, read_near_duplicates, read_overlap
from sciriff.data.records import Conversation
from sciriff.mix.cache import build_once
from sciriff.mix.identity import key
from sciriff.mix.near_duplicates import NoPackage, asked_for, near_duplicates_of, rules_digest, uncounted_card
from sciriff.mix.overlap_check import evaluation_digest, overlap_check, unchecked_card
from sciriff.mix.recipe import BATCH
from sciriff.run.json_lines import read_jsonl
from sciriff.run.messages import show
from sciriff.run.progress import Progress
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import write_whole


def overlap_of(config: Config, rows: Path, digest: str, cache: Path) -> OverlapCard:
    """Compare finished rows with the evaluation prompts, or take the cached result.

    UserError if the prompts cannot be read and this run answers them. For a run that only trains, the card says that
    nothing was checked.
    """
    if config.mix.overlap == "none":
        return unchecked_card("mix.overlap=none")

    def build(into: Path) -> None:
        check = overlap_check(config.eval)
        progress = Progress(lines_of(rows))
        conversations = read_jsonl(rows, Conversation)
        while batch := list(islice(conversations, BATCH)):
            check.overlapping(batch)
            progress(check.checked, "rows compared with the evaluation prompts")
        write_card(into / "overlap.json", check.card())

    try:
        folder = cache / "overlaps" / key(digest, evaluation_digest(config.eval))
        build_once(folder, "overlap", _has_overlap, build)
    except ValueError as error:
        if "predict" in config.active_stages:
            raise
        show(f"NOT CHECKED for text of the evaluation prompts: {error}")
        return unchecked_card(str(error))
    return read_overlap(folder / "overlap.json")


def near_duplicates_card(config: Config, rows: Path, digest: str, cache: Path) -> NearCard:
    """Compare the rows of a finished mix with each other, or take the cached result. UserError where that was asked
    for and cannot be."""
    if config.mix.near_duplicates == "none":
        return uncounted_card("mix.near_duplicates=none")

    def build(into: Path) -> None:
        write_card(into / "near.json", near_duplicates_of(rows))

    try:
        with asked_for(config.mix.near_duplicates):
            folder = cache / "near_duplicates" / key(digest, rules_digest())
    except NoPackage as error:
        return uncounted_card(str(error))
    build_once(folder, "near-duplicates", _has_near_duplicates, build)
    return read_near_duplicates(folder / "near.json")


def _has_near_duplicates(folder: Path) -> bool:
    with suppress(FileNotFoundError, UserError):
        read_near_duplicates(folder / "near.json")
        return True
    return False


def _has_overlap(folder: Path) -> bool:
    with suppress(FileNotFoundError, UserError):
        read_overlap(folder / "overlap.json")
        return True
    return False


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write a card, or a part of one, as JSON."""
    write_whole(path, json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def lines_of(path: Path) -> int:
    """Number of lines of a file."""
    with path.open("rb") as file:
        return sum(1 for _ in file)
