"""Find rows that are nearly the same as an earlier one, by MinHash.

A row is the set of its runs of GRAM words, as contamination is looked for, and two rows are nearly the same when LIKE
of the runs that either has are in both: about one word in thirty may differ. The package rensa makes PERMUTATIONS
minima of each set, whose equal part estimates that share (standard error 0.035); rows that agree in all minima of a
band are compared. What many rows of a dataset have in common is its instruction and does not count, or the rows of a
task with short inputs would all be alike.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from sys import intern

import numpy as np
import pyarrow as pa

from sciriff.data.mix_card import NearCard
from sciriff.data.records import Conversation
from sciriff.mix.overlap import FACTOR, Words, split_words
from sciriff.mix.recipe import text_digest
from sciriff.run.json_lines import record_of
from sciriff.run.progress import Progress
from sciriff.run.user_error import UserError

RULES = 1
"""Version of the rules; raise it when the same texts give other findings."""
PACKAGE = "rensa"
GRAM = 3
LIKE = 0.8
PERMUTATIONS, BANDS = 128, 16
"""Two rows that are alike by 0.8 agree in a band of 8 with a chance of 0.95, by 0.5 of 0.06."""
SEED = 76
LEAST = 16
"""A row with fewer runs of its own is not compared: too little to tell."""
SAMPLED, COMMON, LEAST_HAVING = 100, 0.25, 8
"""Rows of a dataset that are looked at for its instruction, and the part of them, and least number, that has a run of
it."""
SHORT = 24
"""Bytes of a word that is not digested by itself."""
FIRST_BYTES = np.array([2 ** (8 * count) - 1 for count in range(9)], np.uint64)
"""Masks of the first bytes of a number."""
FILTER_BITS = 20
SHIFT = np.uint64(64 - FILTER_BITS)
"""What leaves the bits by which a table is looked up before the sorted keys."""
MOST_KEPT = 32
"""Rows of a bucket that others are compared with."""
BATCH = 2048
MOST_PAIRS = 100
"""Pairs that the card lists."""


class NoPackage(UserError):
    """The package that makes the minima is missing."""


def rules_digest() -> list[object]:
    """What a cached result depends on besides the rows. NoPackage without the package."""
    try:
        return [RULES, version(PACKAGE)]
    except PackageNotFoundError:
        raise NoPackage(f"the package {PACKAGE} is missing: pip install 'sciriff[mix]'") from None


@contextmanager
def asked_for(setting: str | None) -> Iterator[None]:
    """UserError in place of NoPackage where somebody gave mix.near_duplicates this setting."""
    try:
        yield
    except NoPackage as error:
        if setting is None:
            raise
        raise UserError(f"mix.near_duplicates={setting}: {error}") from None


@dataclass
class NearRows:
    """Rows that are nearly the same as an earlier one."""

    checked: int
    like: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Number of a row -> of the earlier one, and the estimated share of runs that are in both."""

    def card(self, name_of: Callable[[int], str], *, left_out: bool = False) -> NearCard:
        """The card's `near_duplicates`; `left_out` if the rows that were found are not in the mix."""
        pairs = list(islice(self.like.items(), MOST_PAIRS))
        summary = f"none of {self.checked:,} rows is nearly the same as another"
        if pairs:
            row, (other, share) = pairs[0]
            summary = (
                f"{len(self.like):,} of {self.checked:,} rows are nearly the same as another"
                f"{' and are left out' if left_out else ''}, such as {name_of(row)} as {name_of(other)} ({share:.0%})"
            )
        return {
            "summary": summary,
            "checked": self.checked,
            "found": len(self.like),
            "pairs": [
                {"row": name_of(row), "like": name_of(other), "share": round(share, 3)} for row, (other, share) in pairs
            ],
        }


def uncounted_card(why: str) -> NearCard:
    """The card's `near_duplicates` where nothing was compared."""
    return {"summary": f"near-duplicates were not counted ({why})", "checked": 0}


def near_rows(datasets: Sequence[str], read: Callable[[Iterable[int]], Iterable[Conversation]]) -> NearRows:
    """Find the rows that are nearly the same as an earlier one that is not itself.

    `datasets` has the dataset of each row, and `read` the conversations of rows by their numbers, which rise. NoPackage
    without the package rensa.
    """
    rules_digest()
    instruction = _Instructions(datasets, read)
    signatures = np.empty((len(datasets), PERMUTATIONS), np.uint32)
    counts = np.zeros(len(datasets), bool)
    progress = Progress(len(datasets))
    for start in range(0, len(datasets), BATCH):
        numbers = range(start, min(start + BATCH, len(datasets)))
        keys, row_of = _runs(read(numbers))
        own = ~instruction.among(keys, instruction.datasets[start + row_of])
        keys, row_of = keys[own], row_of[own]
        edges = np.searchsorted(row_of, np.arange(len(numbers) + 1))
        signatures[start : numbers.stop] = _minima(keys, edges)
        counts[start : numbers.stop] = np.diff(edges) >= LEAST
        progress(numbers.stop, "rows compared with each other")
    return NearRows(len(datasets), dict(_first_alike(signatures, counts)))


def near_duplicates_of(mix: Path) -> NearCard:
    """The card's part on a finished mix (jsonl). What epochs repeat, and rows with exactly the same text, are no
    near-duplicates."""
    places, names, datasets = [], [], []
    seen: set[bytes] = set()
    with mix.open("rb") as file:
        place = 0
        for number, line in enumerate(file, 1):
            row = record_of(line.rstrip(b"\n"), Conversation, mix, number)
            if (text := text_digest(row.messages)) not in seen:
                seen.add(text)
                places.append(place)
                names.append(row.name)
                datasets.append(intern(row.dataset))
            place += len(line)

        def read(numbers: Iterable[int]) -> Iterator[Conversation]:
            for number in numbers:
                file.seek(places[number])
                yield record_of(file.readline().rstrip(b"\n"), Conversation, mix, number)

        return near_rows(datasets, read).card(names.__getitem__)


class _Instructions:
    """The runs that many rows of a dataset have."""

    def __init__(self, datasets: Sequence[str], read: Callable[[Iterable[int]], Iterable[Conversation]]) -> None:
        names = {name: number for number, name in enumerate(dict.fromkeys(datasets))}
        self.datasets = np.array([names[name] for name in datasets], np.uint64)
        seen: Counter[str] = Counter()
        sample = []
        for number, name in enumerate(datasets):
            seen[name] += 1
            if seen[name] <= SAMPLED:
                sample.append(number)
        by_dataset: dict[int, list[int]] = {}
        for number in sample:
            by_dataset.setdefault(int(self.datasets[number]), []).append(number)
        found = [np.empty(0, np.uint64)]
        for dataset, numbers in by_dataset.items():
            if len(numbers) < LEAST_HAVING:
                continue
            keys, row_of = _runs(read(numbers))
            pairs = np.unique(np.stack([keys, row_of.astype(np.uint64)]), axis=1)[0]
            values, having = np.unique(pairs, return_counts=True)
            common = values[having >= max(LEAST_HAVING, COMMON * len(numbers))]
            found.append(_mixed(common, np.full(len(common), dataset, np.uint64)))
        self._keys = np.unique(np.concatenate(found))
        self._filter = np.zeros(2**FILTER_BITS, bool)
        self._filter[self._keys >> SHIFT] = True

    def among(self, keys: np.ndarray, datasets: np.ndarray) -> np.ndarray:
        """Which of these runs, each of a row of this dataset, are of its instruction."""
        wanted = _mixed(keys, datasets)
        likely = np.flatnonzero(self._filter[wanted >> SHIFT])
        found = np.zeros(len(keys), bool)
        places = np.searchsorted(self._keys, wanted[likely])
        found[likely] = self._keys[np.minimum(places, len(self._keys) - 1)] == wanted[likely]
        return found


def _mixed(keys: np.ndarray, datasets: np.ndarray) -> np.ndarray:
    return keys ^ (datasets + np.uint64(1)) * FACTOR


def _runs(rows: Iterable[Conversation]) -> tuple[np.ndarray, np.ndarray]:
    """(key, number of the row) of every run of GRAM words of a message, in order."""
    texts, row_of_text = [], []
    for number, row in enumerate(rows):
        for message in row.messages:
            texts.append(message.content)
            row_of_text.append(number)
    spelled, text = split_words(texts)
    words = Words(_of_bytes(spelled), text)
    keys, within = words.keys(GRAM), words.within(GRAM)
    rows_of = np.array(row_of_text, np.int64)[text[: len(within)][within]] if len(keys) else np.empty(0, np.int64)
    return _scrambled(keys[within]), rows_of


def _of_bytes(words: pa.Array) -> np.ndarray:
    """A number of each word, made of its bytes and so the same on every machine."""
    if not len(words):
        return np.empty(0, np.uint64)
    _, edges, data = words.buffers()
    offsets = np.frombuffer(edges, np.int64)[words.offset : words.offset + len(words) + 1]
    starts, sizes = offsets[:-1] - offsets[0], np.diff(offsets)
    content = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].tobytes()
    # the eight bytes from each place on
    eights = np.ndarray(len(content) + SHORT, "<u8", content + bytes(SHORT + 8), strides=(1,))
    numbers = sizes.astype(np.uint64)
    for offset in range(0, SHORT, 8):
        numbers *= FACTOR
        numbers += eights[starts + offset] & FIRST_BYTES[np.clip(sizes - offset, 0, 8)]
    for place in np.flatnonzero(sizes > SHORT):  # of languages without spaces, and sequences
        word = content[starts[place] : starts[place] + sizes[place]]
        numbers[place] = int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")
    return numbers


def _scrambled(keys: np.ndarray) -> np.ndarray:
    """The keys with each bit of theirs in all (the finish of SplitMix64): the lowest of a polynomial modulo 2**64 is
    that of few letters."""
    keys = keys ^ (keys >> np.uint64(30))
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    keys ^= keys >> np.uint64(27)
    keys *= np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)
    return keys


def _minima(keys: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The minima of each row's runs, those from one edge to the next."""
    from rensa import RMinHash

    flat, offsets = np.ascontiguousarray(keys, np.uint64), np.ascontiguousarray(edges, np.uint64)
    made = RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, num_perm=PERMUTATIONS, seed=SEED)
    return np.array(made.to_rows(), np.uint32)


def _first_alike(signatures: np.ndarray, counts: np.ndarray) -> Iterator[tuple[int, tuple[int, float]]]:
    """Yield (row, (earlier row that stays, share)) in order, of those rows for which `counts` holds."""
    buckets_of = _buckets(signatures, np.flatnonzero(counts))
    kept: dict[int, list[int]] = {}
    for row in sorted(buckets_of):
        others = sorted({other for bucket in buckets_of[row] for other in kept.get(bucket, ())})
        if others:
            shares = np.mean(signatures[others] == signatures[row], axis=1)
            best = int(np.argmax(shares))
            if shares[best] >= LIKE:
                yield row, (others[best], float(shares[best]))
                continue
        for bucket in buckets_of[row]:
            if len(members := kept.setdefault(bucket, [])) < MOST_KEPT:
                members.append(row)


def _buckets(signatures: np.ndarray, rows: np.ndarray) -> dict[int, list[int]]:
    """Row -> the buckets of two rows or more that it is in: of those that agree in all minima of a band."""
    found: dict[int, list[int]] = {}
    width = PERMUTATIONS // BANDS
    begun = 0
    for band in range(BANDS):
        keys = np.zeros(len(rows), np.uint64)
        for column in range(band * width, (band + 1) * width):
            keys = keys * FACTOR + signatures[rows, column]
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(rows) else np.empty(0, int)
        sizes = np.diff(np.append(starts, len(rows)))
        for bucket in np.flatnonzero(sizes > 1):
            for row in rows[order[starts[bucket] : starts[bucket] + sizes[bucket]]].tolist():
                found.setdefault(row, []).append(begun + int(bucket))
        begun += len(starts)
    return found
