"""Choose and order the rows of a mix. Pure functions: nothing here reads a file or draws a random number.

A sample is the beginning of an order by a keyed hash: SHA-256 of the seed, a purpose and the row's own name and text.
So it does not depend on the order of files and rows, and a larger cap keeps the rows of a smaller one.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from sciriff.run.json_lines import Message

BATCH = 4096


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row as the recipe knows it; its text stays on disk."""

    dataset: str
    id: str
    text: bytes
    """Digest of its messages."""
    place: int
    """Position in the spool; rises in the order of reading."""

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.id}"


@dataclass
class Selection:
    """Candidates that a cap keeps and leaves out, each in the order of the walk."""

    kept: list[Candidate]
    refused: dict[str, list[Candidate]]
    """Rows by the reason why they cannot enter."""
    over: list[Candidate]
    """Rows after the cap was full; their text was not checked."""


def text_digest(messages: Iterable[Message]) -> bytes:
    """Digest of messages, 16 bytes; no message has a NUL character."""
    text = "\0".join([f"{message.role}\0{message.content}{_thought(message)}" for message in messages])
    return hashlib.sha256(text.encode()).digest()[:16]


def _thought(message: Message) -> str:
    return "" if message.thought is None else f"\0\0{message.thought}"


def ranked(candidates: Iterable[Candidate], take: str, seed: int) -> list[Candidate]:
    """Order in which a cap takes rows: with take=`first` as they were read, with `sample` by the keyed hash."""
    if take == "first":
        return sorted(candidates, key=lambda candidate: candidate.place)
    return sorted(candidates, key=partial(_keyed, seed, "sample"))


def over_epochs(candidates: Sequence[Candidate], epochs: float) -> list[tuple[int, Candidate]]:
    """List (pass, row) for every occurrence in the mix; a last part of an epoch takes the first rows."""
    whole = math.floor(epochs)
    part = _rounded((epochs - whole) * len(candidates))
    times = [(number, candidate) for number in range(whole) for candidate in candidates]
    return times + [(whole, candidate) for candidate in candidates[:part]]


def shuffled(times: Iterable[tuple[int, Candidate]], seed: int) -> list[Candidate]:
    """Order of the finished mix. Its hash is not the sample's, or the rows of large tasks, which are sampled for their
    small hashes, would all come first; and each pass has its own, or a row's repetitions would stand together."""
    order = sorted(times, key=lambda time: _keyed(seed, f"order {time[0]}" if time[0] else "order", time[1]))
    return [candidate for _, candidate in order]


def in_turn(groups: Iterable[Sequence[Candidate]], purpose: str, seed: int) -> list[Candidate]:
    """Seeded order that takes one row of each group in turn, so that its beginning is balanced."""
    key = partial(_keyed, seed, purpose)
    return _turns([sorted(group, key=key) for group in groups], key)


def one_of_each(groups: Iterable[Sequence[Candidate]], seed: int) -> list[Candidate]:
    """Order that takes one row of each group in turn, those of a group in the order that they have."""
    return _turns(groups, partial(_keyed, seed, "turn"))


def _turns(groups: Iterable[Sequence[Candidate]], key: Callable[[Candidate], bytes]) -> list[Candidate]:
    return [candidate for turn in zip_longest(*groups) for candidate in sorted(filter(None, turn), key=key)]


def without_duplicates(candidates: Iterable[Candidate], seen: set[bytes]) -> tuple[list[Candidate], list[Candidate]]:
    """Return (the first row of each text, the others). `seen` has the texts of earlier calls and is added to."""
    first: list[Candidate] = []
    again: list[Candidate] = []
    for candidate in candidates:
        (again if candidate.text in seen else first).append(candidate)
        seen.add(candidate.text)
    return first, again


def by_task(candidates: Iterable[Candidate]) -> dict[str, list[Candidate]]:
    """Group candidates by dataset; datasets in alphabetical order, rows in their own."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.dataset, []).append(candidate)
    return dict(sorted(groups.items()))


def capped(
    candidates: Sequence[Candidate], cap: int | None, refusals: Callable[[Sequence[Candidate]], list[str | None]]
) -> Selection:
    """Walk the candidates in order and keep those that are not refused until there are `cap` (None: all).

    `refusals` is asked about no more candidates than are still wanted, since it reads and tokenises them.
    """
    chosen = Selection([], {}, [])
    start = 0
    while start < len(candidates) and (cap is None or len(chosen.kept) < cap):
        wanted = BATCH if cap is None else min(BATCH, cap - len(chosen.kept))
        batch = candidates[start : start + wanted]
        for candidate, reason in zip(batch, refusals(batch), strict=True):
            if reason is None:
                chosen.kept.append(candidate)
            else:
                chosen.refused.setdefault(reason, []).append(candidate)
        start += len(batch)
    chosen.over = list(candidates[start:])
    return chosen


def general_rows(tulu: str | int, science_rows: int, per_science_row: float = 1.0) -> int | None:
    """Number of general rows that mix.tulu asks for; None is all. `match` takes `per_science_row` per science row."""
    if isinstance(tulu, int):
        return tulu
    return {"none": 0, "match": _rounded(science_rows * per_science_row), "all": None}[tulu]


def _rounded(rows: float) -> int:
    return math.floor(rows + 0.5)


def _keyed(seed: int, purpose: str, candidate: Candidate) -> bytes:
    key = f"{seed}\0{purpose}\0{candidate.dataset}\0{candidate.id}\0".encode()
    return hashlib.sha256(key + candidate.text).digest()
