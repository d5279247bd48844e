"""SciCite: sentences that cite, and why they do."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.json_files import json_lines

LABELS = ("method", "background", "result")
"""In the order of their numbers in the hub's data set."""

Label = Literal["method", "background", "result"]


@dataclass
class Original:
    string: str
    label: Label
    citingPaperId: str


@dataclass
class Copy:
    text: str
    label: Label


def _read_original(split: str, files: list[Path]) -> Iterator[Record]:
    for _, row in json_lines(files[0], Original):
        yield {
            "string": row.string,
            "label": LABELS.index(row.label),
            "_documents": [f"s2:{row.citingPaperId}"],
        }


def _read_copy(split: str, files: list[Path]) -> Iterator[Record]:
    for _, row in json_lines(files[0], Copy):
        yield {"string": row.text, "label": LABELS.index(row.label)}


SPLITS = {"train": "train", "validation": "dev", "test": "test"}

CORPORA = {
    "allenai/scicite": (
        Corpus({split: (f"scicite/{name}.jsonl",) for split, name in SPLITS.items()}, _read_original),
        Corpus(
            {split: (f"scibert_cls_sci-cite/{name}.txt",) for split, name in SPLITS.items()},
            _read_copy,
            incomplete="SciBERT's copy: 7,320 of 8,194 training rows, 2 test rows more, and no paper's id",
        ),
    ),
}
