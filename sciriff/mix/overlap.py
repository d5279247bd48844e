"""Find training rows that hold text of the evaluation prompts: the whole prompt, or the document inside it.

Texts are compared as words of letters and digits, so that spaces, case and punctuation do not matter. pyarrow splits
the texts and numbers the prompts' words. Every run of GRAM words of the prompts is kept as a 64-bit key in one sorted
array, and rows are looked up in it; what a row shares with a prompt is the stretches of the prompt whose runs the row
has. So a document is found in a row of any length, under any other instruction and question, and with words changed
here and there.

The instruction of a task is no document: the phrases that most prompts of the task have are set aside beforehand. A
paper that a few prompts of a task share is not among them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sciriff.data.records import Conversation, Instance

RULES = 1
"""Version of the rules; raise it when the same texts give other findings."""

GRAM = 8
"""Words of a run, as in the decontamination of PaLM and of Tulu 3. With one word in ten changed, 43 % of runs of 8
words are whole and 25 % of runs of 13."""

LEAST_WORDS = 4 * GRAM
"""Shared words of a stretch that are an overlap in every prompt: more than the turns of phrase and the licence lines
that unrelated papers have in common, and what is left of an abstract with one word in ten changed."""

LEAST_SHORT = 2 * GRAM
"""A document of less than 64 words overlaps when half of it is shared, but not for fewer words than these: a citing
sentence counts, a common phrase does not."""

GAP = 30
"""Words that may be unlike between two runs of one stretch: where several of them were changed close together.
Turns of phrase that are strewn over two long papers do not add up."""

LEAST_BYTES = 12
LEAST_DISTINCT = 5
"""Least bytes and distinct words of a run: `0 0 0 0 ...` and `1 2 3 4 ...` are in many tables and programs."""

PHRASE = 5
"""Words of the phrases by which an instruction is known. They are shorter than a run, because a number or a name in the
middle of an instruction may differ from prompt to prompt."""

LEAST_PROMPTS = 4
"""With fewer prompts of a task its instruction cannot be told; all the text counts as document."""

FILTER_BITS = 26
"""Most bits of the table that is looked up before the sorted keys: 64 MB."""

FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""The key of a run is the polynomial in this number whose coefficients are the numbers of its words, modulo 2**64."""

OTHER_MARKS = re.compile(r"[^\w\0-\x7f]+")
"""Characters beyond ASCII that are no letters or digits: quotes, dashes, wide spaces, lone surrogates."""

PLAIN = bytes(c if c >= 128 else ord(chr(c).lower()) if chr(c).isalnum() else 32 for c in range(256))
"""Each byte of UTF-8 as it is compared: lower case, and a space for what is no letter or digit."""


@dataclass(frozen=True)
class Overlap:
    """Text that a training row shares with an evaluation prompt."""

    instance: str
    """Id of the prompt's instance."""
    kind: str
    """`exact` (a message is the prompt, word for word) or `text` (a part of the prompt is in the row)."""
    shared_words: int
    share: float
    """Share of the prompt's words without its instruction, 0 to 1."""


@dataclass(frozen=True)
class Words:
    """The words of some texts, one after another. Arrays of shape (words,)."""

    values: np.ndarray
    """Numbers in the vocabulary from 1; 0 for a word that it lacks."""
    text: np.ndarray
    """Number of each word's text, from 0."""

    def keys(self, n: int) -> np.ndarray:
        """A key of the n words from each place on, of shape (words - n + 1,) or (0,)."""
        size = max(0, len(self.values) - n + 1)
        keys = self.values[:size].astype(np.uint64)
        for offset in range(1, n):
            keys *= FACTOR
            keys += self.values[offset : offset + size].astype(np.uint64)
        return keys

    def of_each(self, texts: int) -> list[np.ndarray]:
        """The values of each of the `texts` texts."""
        edges = np.searchsorted(self.text, np.arange(texts + 1))
        return [self.values[start:end] for start, end in pairwise(edges)]

    def within(self, n: int) -> np.ndarray:
        """Where the n words from a place on are of one text."""
        size = max(0, len(self.text) - n + 1)
        return self.text[:size] == self.text[len(self.text) - size :]


def split_words(texts: Sequence[str]) -> tuple[pa.Array, np.ndarray]:
    """Words of texts without case, ligatures, wide letters and punctuation, and the number of the text of each."""
    split = pc.ascii_split_whitespace(pa.array((_utf8(text).translate(PLAIN) for text in texts), pa.large_string()))
    words = pc.list_flatten(split)
    real = pc.greater(pc.binary_length(words), 0)  # a space at a text's edge makes an empty one
    return words.filter(real), pc.list_parent_indices(split).filter(real).to_numpy()


def read_words(texts: Sequence[str], vocabulary: pa.Array) -> Words:
    """The words of texts by their numbers in the vocabulary."""
    words, text = split_words(texts)
    places = pc.index_in(words, value_set=vocabulary)
    return Words(pc.fill_null(places, -1).to_numpy() + 1, text)


def _utf8(text: str) -> bytes:
    if not text.isascii():
        text = OTHER_MARKS.sub(" ", normalize("NFKC", text).casefold())
    return text.encode()


class OverlapIndex:
    """The evaluation prompts, ready to be found in training rows: about 40 bytes per word of theirs, and a filter."""

    def __init__(self, instances: Iterable[Instance]) -> None:
        instances = list(instances)
        self._names = [instance.instance_id for instance in instances]
        spelled, text = split_words([instance.prompt for instance in instances])
        numbered = spelled.dictionary_encode()
        self._vocabulary = numbered.dictionary
        words = Words(numbered.indices.to_numpy() + 1, text)
        self._owner = words.text.astype(np.int32)
        self._prompts = words.of_each(len(instances))
        self._by_ends: dict[tuple[int, int, int], list[int]] = {}
        for number, prompt in enumerate(self._prompts):
            if len(prompt):
                self._by_ends.setdefault(_ends(prompt), []).append(number)

        instruction = _instruction(words, [instance.task for instance in instances])
        self._document_words = np.bincount(words.text[~instruction], minlength=len(instances))
        self._needed = np.clip((self._document_words + 1) // 2, LEAST_SHORT, LEAST_WORDS)

        places = np.flatnonzero(_telling(words, pc.binary_length(spelled).to_numpy(), instruction))
        keys = words.keys(GRAM)[places]
        order = np.argsort(keys, kind="stable")
        self._places = places[order].astype(np.int32)
        self._keys, first = np.unique(keys[order], return_index=True)
        self._first = np.append(first, len(places))
        bits = min(FILTER_BITS, (len(self._keys) * 16 + 1).bit_length())
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(2**bits, dtype=bool)
        self._filter[self._keys >> self._shift] = True

    def __len__(self) -> int:
        return len(self._names)

    def find(self, rows: Sequence[Conversation]) -> list[list[Overlap]]:
        """For each row the prompts whose text its messages hold, the longest shared text first."""
        found: list[dict[int, Overlap]] = [{} for _ in rows]
        texts = [[text for m in row.messages for text in (m.content, m.thought) if text is not None] for row in rows]
        row_of = np.repeat(np.arange(len(rows)), [len(row) for row in texts])
        words = read_words([text for row in texts for text in row], self._vocabulary)
        for row, message in zip(row_of, words.of_each(len(row_of)), strict=True):
            for prompt in self._by_ends.get(_ends(message), ()) if len(message) else ():
                if np.array_equal(message, self._prompts[prompt]):
                    found[row][prompt] = Overlap(self._names[prompt], "exact", len(message), 1.0)

        keys = words.keys(GRAM)
        places = np.flatnonzero(self._filter[keys >> self._shift] & words.within(GRAM))
        numbers = np.searchsorted(self._keys, keys[places])
        hits = np.append(self._keys, np.uint64(0))[numbers] == keys[places]
        hits &= numbers < len(self._keys)
        numbers, hit_rows = numbers[hits], row_of[words.text[places[hits]]]
        # the rows are in order, so the hits of each are one slice; a single run is too short to be an overlap
        edges = np.flatnonzero(np.diff(hit_rows, prepend=-1, append=-1))
        for start, end in pairwise(edges):
            if end - start > 1:
                for prompt, overlap in self._stretches(np.unique(numbers[start:end])):
                    found[hit_rows[start]].setdefault(prompt, overlap)
        return [sorted(row.values(), key=lambda overlap: (-overlap.shared_words, overlap.instance)) for row in found]

    def _stretches(self, numbers: np.ndarray) -> Iterator[tuple[int, Overlap]]:
        """The overlaps with a row that has the runs of these numbers, each with the number of its prompt."""
        counts = self._first[numbers + 1] - self._first[numbers]
        ranks = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.sort(self._places[np.repeat(self._first[numbers], counts) + ranks])
        owner = self._owner[places]
        steps = np.diff(places, prepend=places[0])
        begins = (np.diff(owner, prepend=-1) != 0) | (steps > GRAM + GAP)
        starts = np.flatnonzero(begins)
        lengths = np.add.reduceat(np.where(begins, GRAM, np.minimum(steps, GRAM)), starts)
        enough = lengths >= self._needed[owner[starts]]
        prompts, which = np.unique(owner[starts][enough], return_inverse=True)
        for prompt, shared in zip(prompts, np.bincount(which, weights=lengths[enough]).astype(int), strict=True):
            # a run may begin in the instruction, so that it can have more words than the document
            share = min(1.0, float(shared / self._document_words[prompt]))
            yield int(prompt), Overlap(self._names[prompt], "text", int(shared), share)


def _ends(words: np.ndarray) -> tuple[int, int, int]:
    """By which a text is looked up before it is compared: how many words, the first and the last."""
    return len(words), int(words[0]), int(words[-1])


def _instruction(words: Words, tasks: Sequence[str]) -> np.ndarray:
    """Which words belong to phrases that more than half of their task's prompts have."""
    keys, within = words.keys(PHRASE), words.within(PHRASE)
    names = np.array(tasks, dtype=object)
    steps = np.zeros(len(words.text) + 1, dtype=np.int32)
    for task in dict.fromkeys(tasks):
        of_task = names == task
        prompts = int(of_task.sum())
        if prompts < LEAST_PROMPTS:
            continue
        places = np.flatnonzero(within & of_task[words.text[: len(within)]])
        _, phrase = np.unique(keys[places], return_inverse=True)
        pairs = np.unique(phrase * len(tasks) + words.text[places])
        having = np.bincount(pairs // len(tasks))
        common = places[having[phrase] > prompts / 2]
        steps[common] += 1
        steps[common + PHRASE] -= 1
    return np.cumsum(steps[:-1]) > 0


def _telling(words: Words, widths: np.ndarray, instruction: np.ndarray) -> np.ndarray:
    """Where a run begins by which a document is known: at least half of it is not of the instruction, and it is long
    (`widths`: bytes of each word) and varied enough to be no coincidence."""
    good = words.within(GRAM)
    good &= _window_sums(instruction, GRAM) * 2 <= GRAM
    good &= _window_sums(widths, GRAM) >= LEAST_BYTES
    distinct = np.ones(len(good), dtype=np.int8)
    for later in range(1, GRAM):
        word = words.values[later : later + len(good)]
        new = np.ones(len(good), dtype=bool)
        for earlier in range(later):
            new &= word != words.values[earlier : earlier + len(good)]
        distinct += new
    return good & (distinct >= LEAST_DISTINCT)


def _window_sums(numbers: np.ndarray, n: int) -> np.ndarray:
    """The sum of the n numbers from each place on, of the shape of `Words.keys`."""
    sums = np.concatenate([[0], np.cumsum(numbers, dtype=np.int64)])
    return sums[n:] - sums[: max(0, len(sums) - n)]
