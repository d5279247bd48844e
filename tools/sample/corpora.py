"""Write two invented corpora as their owners would publish them: abstracts in PubTator's format, notes in JSON lines.

`sciriff/sample/recreate/templates/` makes rows of them. Six of the notes are about abstracts of the evaluation rows, so
that a build has something to find when it looks for documents which training and evaluation share.
"""

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.run.json_lines import write_jsonl
from tools.sample.documents import BIOMEDICAL, Writer
from tools.sample.vocabulary import Lexicon

ABSTRACTS = {"Train": 12, "Dev": 24, "Test": 12}
NOTES = {"train": 600, "test": 40}
SHARED = 6

TITLES = (
    "{Gene} in {Disease}.",
    "{Chemical} for {Species} with {Disease}.",
    "What {Chemical} does to {Gene}.",
    "{Variant}, a new variant of {Gene}.",
    "{Disease} and {CellLine} cells.",
)

PUBTATOR_TYPES = {
    "CellLine": "CellLine",
    "Chemical": "ChemicalEntity",
    "Disease": "DiseaseOrPhenotypicFeature",
    "Gene": "GeneOrGeneProduct",
    "Species": "OrganismTaxon",
    "Variant": "SequenceVariant",
}
"""Our type -> BioRED's name for it."""

KINDS = {
    "CellLine": "cell line",
    "Chemical": "compound",
    "Disease": "illness",
    "Gene": "gene",
    "Species": "animal",
    "Variant": "mutation",
}
"""Our type -> the word for it in the notes."""


@dataclass(frozen=True)
class Mention:
    """Characters of a text that name something."""

    start: int
    text: str
    type: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class Document:
    name: str
    title: str
    abstract: str
    mentions: list[Mention]
    """Those of title and abstract, which one character keeps apart, in the order of the text."""


def document(rng: random.Random, lexicon: Lexicon, name: str) -> Document:
    """An abstract of three sentences below a title."""
    writer = Writer(rng, lexicon)
    title = writer.fill(rng.choice(TITLES))[0]
    abstract = " ".join(writer.fill(sentence)[0] for sentence in rng.sample(BIOMEDICAL, 2))
    return Document(name, title, abstract, _mentions(f"{title} {abstract}", writer))


def _mentions(text: str, writer: Writer) -> list[Mention]:
    """Every place where the text has a name that the writer wrote; a name at the start of a sentence is capitalised."""
    types = {name.lower(): kind for kind, names in writer.seen.items() for name in names}
    names = "|".join(re.escape(name) for name in sorted(types, key=lambda name: (-len(name), name)))
    found = re.finditer(rf"\b(?:{names})\b", text, re.IGNORECASE)
    return [Mention(match.start(), match[0], types[match[0].lower()]) for match in found]


def pubtator(documents: list[Document]) -> str:
    """Title, abstract and a line for each mention, which stands for no entry of a database."""
    blocks = []
    for one in documents:
        lines = [f"{one.name}|t|{one.title}", f"{one.name}|a|{one.abstract}"]
        for mention in one.mentions:
            place = (one.name, str(mention.start), str(mention.end))
            lines.append("\t".join((*place, mention.text, PUBTATOR_TYPES[mention.type], "-")))
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def note(one: Document, number: int, shared: bool = False) -> dict[str, Any]:
    """An abstract as a record of its own: its text, and each thing that it names once."""
    start = len(one.title) + 1
    found = dict.fromkeys((mention.text, mention.type) for mention in one.mentions if mention.start >= start)
    record: dict[str, Any] = {"_id": f"n{number:03}", "note": one.abstract}
    record["found"] = [{"name": name, "kind": KINDS[kind]} for name, kind in found]
    return record | ({"_documents": [f"pmid:{one.name}"]} if shared else {})


def _notes(seed: int, split: str, lexicon: Lexicon, shared: list[Document]) -> Iterator[dict[str, Any]]:
    rng = random.Random(f"{seed}:notes:{split}")
    own = [document(rng, lexicon, "") for _ in range(NOTES[split] - len(shared))]
    documents = [(one, False) for one in own] + [(one, True) for one in shared]
    rng.shuffle(documents)
    for number, (one, is_shared) in enumerate(documents):
        yield note(one, number, is_shared)


def write_corpora(folder: Path, seed: int, train: Lexicon, heldout: Lexicon) -> None:
    """Write the raw files of both corpora below `folder`."""
    evaluation: list[Document] = []
    numbers = itertools.count(1)
    for split, count in ABSTRACTS.items():
        rng = random.Random(f"{seed}:abstracts:{split}")
        lexicon = train if split == "Train" else heldout
        documents = [document(rng, lexicon, f"S{next(numbers):03}") for _ in range(count)]
        evaluation += documents if split == "Dev" else []
        path = folder / "biored" / f"{split}.PubTator"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pubtator(documents), encoding="utf-8", newline="\n")
    for split in NOTES:
        shared = evaluation[:SHARED] if split == "train" else []
        write_jsonl(folder / "bench_notes" / f"{split}.jsonl", _notes(seed, split, train, shared))
