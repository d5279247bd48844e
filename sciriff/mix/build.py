"""Build a mix: read the sources, let the recipe choose, write the chosen rows down in their order.

The text of the rows is kept on disk, in a spool beside the result; in memory there is a name, a digest and a place per
row of the sources, some hundred bytes each.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from os import SEEK_END
from pathlib import Path
from sys import intern

from sciriff.config import MixConfig, SourceConfig
from sciriff.mix.recipe import (
    Candidate,
    Selection,
    by_task,
    capped,
    general_rows,
    ranked,
    shuffled,
    text_digest,
    without_duplicates,
)
from sciriff.mix.sources import SCIENCE, Tally, read_conversations
from sciriff.progress import Progress
from sciriff.records import Conversation, Message, to_json, write_jsonl
from sciriff.tasks import HELD_OUT

WINDOW_MARGIN = 20
"""Tokens of mix.context_window that a row leaves free."""

HELD_OUT_DATASETS = frozenset(f"{SCIENCE}.{task.name}" for task in HELD_OUT)

Lengths = Callable[[Sequence[Conversation]], list[int]]
"""Tokens of each conversation, by the model's tokenizer and markup."""


def used_sources(mix: MixConfig) -> dict[str, SourceConfig]:
    """The sources that this mix reads, by name. ValueError where one that it needs is not there."""
    if mix.path is not None:
        return {"path": SourceConfig(path=mix.path)}
    sources = mix.sources
    if sources.published.exists:
        if sources.sciriff.exists or sources.tulu.exists:
            raise ValueError(
                "mix.sources.published is a finished mix and is taken whole; leave out mix.sources.sciriff and "
                "mix.sources.tulu, or mix.sources.published"
            )
        return {"published": sources.published}
    used = {}
    if mix.per_task != 0:
        if not sources.sciriff.exists:
            raise ValueError("there are no science rows: give mix.sources.sciriff.path=FOLDER, or mix.per_task=0")
        used["sciriff"] = sources.sciriff
    if mix.tulu not in ("none", 0):
        if not sources.tulu.exists:
            raise ValueError(
                f"there are no general rows for mix.tulu={mix.tulu}: give mix.sources.tulu.path=FILE, or mix.tulu=none"
            )
        used["tulu"] = sources.tulu
    return used


def build_mix(mix: MixConfig, path: Path, lengths: Lengths) -> Tally:
    """Write the mix to `path` (jsonl of Conversation) and say what was read and dropped.

    ValueError where a source cannot be read, a row is bad, or no row is left.
    """
    tally = Tally()
    used = used_sources(mix)
    if "path" in used or "published" in used:
        for name, source in used.items():
            write_jsonl(path, read_conversations(name, source, mix.on_bad_row, tally))
    else:
        with Spool(path.with_name("rows.spool")) as spool:
            chosen = shuffled(_chosen(mix, used, spool, lengths, tally), mix.seed)
            write_jsonl(path, (spool.read(candidate) for candidate in chosen))
    if not tally.kept:
        raise ValueError(
            f"the mix is empty: {sum(tally.read.values())} rows were read and all left out {tally.dropped}"
        )
    return tally


class Spool:
    """Conversations in a temporary file, found again by where they begin in it. Removed at the end of the `with`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "Spool":
        self._file = self._path.open("w+b")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._path.unlink()

    def add(self, conversation: Conversation) -> Candidate:
        place = self._file.seek(0, SEEK_END)
        self._file.write(to_json(conversation).encode() + b"\n")
        return Candidate(intern(conversation.dataset), conversation.id, text_digest(conversation.messages), place)

    def read(self, candidate: Candidate) -> Conversation:
        self._file.seek(candidate.place)
        row = json.loads(self._file.readline())
        messages = tuple(Message(message["role"], message["content"]) for message in row["messages"])
        return Conversation(row["dataset"], row["id"], messages)


def _chosen(
    mix: MixConfig, used: dict[str, SourceConfig], spool: Spool, lengths: Lengths, tally: Tally
) -> list[Candidate]:
    """The rows that the mix takes, science first."""
    seen: set[bytes] = set()
    science: list[Candidate] = []
    general: list[Candidate] = []
    if "sciriff" in used:
        rows = ranked(_science_rows(mix, used["sciriff"], spool, tally), mix.take, mix.seed)
        tasks = by_task(_unique(rows, seen, tally))
        cap = mix.per_task
        most = sum(len(rows) if cap is None else min(cap, len(rows)) for rows in tasks.values())
        fits = _measure(mix, spool, lengths, most)
        for rows in tasks.values():
            science += _kept(capped(rows, cap, fits), "over mix.per_task", tally)
    if "tulu" in used:
        rows = ranked(_general_rows(mix, used["tulu"], spool, tally), "sample", mix.seed)
        rows = _unique(rows, seen, tally)
        cap = general_rows(mix.tulu, len(science))
        fits = _measure(mix, spool, lengths, len(rows) if cap is None else min(cap, len(rows)))
        general = _kept(capped(rows, cap, fits), "over mix.tulu", tally)
    return science + general


def _science_rows(mix: MixConfig, source: SourceConfig, spool: Spool, tally: Tally) -> Iterator[Candidate]:
    for conversation in read_conversations("sciriff", source, mix.on_bad_row, tally, only_science=True):
        if conversation.dataset in HELD_OUT_DATASETS and not mix.include_heldout:
            tally.drop("of a held-out task", f"{conversation.dataset}/{conversation.id}")
        else:
            yield spool.add(conversation)


def _general_rows(mix: MixConfig, source: SourceConfig, spool: Spool, tally: Tally) -> Iterator[Candidate]:
    for conversation in read_conversations("tulu", source, mix.on_bad_row, tally):
        if conversation.dataset.startswith(SCIENCE):  # they overlap the held-out tasks
            tally.drop("a science row of the general source", f"{conversation.dataset}/{conversation.id}")
        else:
            yield spool.add(conversation)


def _unique(rows: list[Candidate], seen: set[bytes], tally: Tally) -> list[Candidate]:
    first, again = without_duplicates(rows, seen)
    for row in again:
        tally.drop("the same text as another row", row.name)
    return first


def _kept(selection: Selection, cap_reason: str, tally: Tally) -> list[Candidate]:
    for row in selection.too_long:
        tally.drop("longer than mix.context_window", row.name)
    for row in selection.over:
        tally.drop(cap_reason, row.name)
    return selection.kept


def _measure(
    mix: MixConfig, spool: Spool, lengths: Lengths, expected: int
) -> Callable[[Sequence[Candidate]], list[bool]]:
    """A function that says of rows whether they fit mix.context_window, and shows how many of `expected` it found."""
    if mix.context_window is None:
        return lambda rows: [True] * len(rows)
    limit = mix.context_window - WINDOW_MARGIN
    progress = Progress(expected)
    found = 0

    def fits(rows: Sequence[Candidate]) -> list[bool]:
        nonlocal found
        answers = [length <= limit for length in lengths([spool.read(row) for row in rows])]
        found += sum(answers)
        progress(found, "rows chosen that fit mix.context_window")
        return answers

    return fits
