"""Find which prompts of a task are about the same document, without knowing the task's template.

Answers about one document are alike, so intervals treat them as one unit (Miller 2024, arXiv 2411.00640). Instructions
stand in many of a task's prompts and the question in one; what a few prompts have in common is a document. Prompts need
not have the whole of it: Qasper's show some sections of a paper each, and a long document may be cut in its middle.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain, pairwise

DIGITS = 16
"""Hexadecimal digits of a document's SHA-256."""
INSTRUCTION = 5
"""A passage is instruction if more than one of this many prompts have it. The largest share that a document may have: a
task has up to four templates, and with fewer than five documents nothing is resampled by them."""
LETTERS = 24
"""Characters of a passage that is no coincidence. Shorter ones ("What is the baseline?") connect nothing."""
ALIKE = 0.2
"""Share of the longer one of two texts that they have in common if they are of one document. Qasper's sections of one
paper share 0.23 to 1, SciFact's abstracts 0.9 to 1, texts of different papers up to 0.15."""


def document_digests(prompts: Sequence[str]) -> list[str | None]:
    """Digest of each prompt's document, equal for prompts about the same one; None where nothing but instruction is
    known, as of a missing prompt. The time is linear in the length of the prompts."""
    common = max(len(prompts) / INSTRUCTION, 1)
    every = [_passages(prompt) for prompt in prompts]
    counts = Counter(chain.from_iterable(map(set, every)))
    passages = [_without_examples(found, {p for p in set(found) if counts[p] > common}) for found in every]
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, found in enumerate(passages):
        for passage in found:
            places[passage].append(place)
    texts = [{passage: None for passage in found if len(places[passage]) <= common} for found in passages]
    groups = _groups(texts, {p: at for p, at in places.items() if 1 < len(at) <= common and len(p) >= LETTERS})
    digests: list[str | None] = [None] * len(prompts)
    for first, *others in groups:
        if len(others) >= common:  # by chains of likeness alone
            continue
        shared = set().union(*(texts[other] for other in others)) if others else texts[first]
        document = [passage for passage in texts[first] if passage in shared]
        if any(len(passage) >= LETTERS for passage in document):
            text = "\n".join(document).encode("utf-8", "surrogatepass")
            for place in (first, *others):
                digests[place] = hashlib.sha256(text).hexdigest()[:DIGITS]
    return digests


def _passages(prompt: str) -> list[str]:
    """Lines and sentences of a prompt in their order, with single spaces."""
    parts = prompt.replace(". ", ".\n").split("\n")
    return [passage for passage in (" ".join(part.split()) for part in parts) if passage]


def _without_examples(passages: list[str], instruction: set[str]) -> dict[str, None]:
    """Passages of the last one of several instances in a prompt, each once. Those before are solved examples, each of
    which begins with the same instruction."""
    first = next((passage for passage in passages if passage in instruction and len(passage) >= LETTERS), None)
    if first is not None and passages.count(first) > 1:
        passages = passages[len(passages) - 1 - passages[::-1].index(first) :]
    return dict.fromkeys(passages)


def _groups(texts: Sequence[dict[str, None]], shared: dict[str, list[int]]) -> list[list[int]]:
    """Places of the texts of each document, in order. `shared` holds the places of each passage that connects texts."""
    lengths = [sum(map(len, text)) for text in texts]
    near: defaultdict[tuple[int, int], int] = defaultdict(int)
    for passage, places in shared.items():
        # Neighbours suffice, for the texts of one document are connected one by one; all pairs would take too long.
        for pair in pairwise(places):
            near[pair] += len(passage)
    first = list(range(len(texts)))

    def root(place: int) -> int:
        while first[place] != place:
            first[place] = first[first[place]]
            place = first[place]
        return place

    for (one, other), characters in near.items():
        needed = ALIKE * max(lengths[one], lengths[other])
        # a pair may be no neighbours in some passages, so that a few of its characters are not in this count
        if characters >= needed / 4 and sum(map(len, texts[one].keys() & texts[other].keys())) >= needed:
            low, high = sorted((root(one), root(other)))
            first[high] = low
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place in range(len(texts)):
        groups[root(place)].append(place)
    return list(groups.values())
