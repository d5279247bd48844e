"""Qasper: papers with questions and their answers, an object by arXiv identifier in each file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.recreate.corpus import Corpus, Record
from sciriff.run.typed_json import read_json


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    papers = read_json(files[0], dict[str, dict[str, Any]], "papers of Qasper by identifier", "fetch it again")
    for identifier, paper in papers.items():
        yield {"id": identifier} | paper | {"_documents": [f"arxiv:{identifier}"]}


SPLITS = {"train": "train", "validation": "dev", "test": "test"}

CORPORA = {
    "allenai/qasper": (
        Corpus({split: (f"qasper/qasper-{name}-v0.3.json",) for split, name in SPLITS.items()}, _read),
        Corpus(
            {split: (f"qasper/qasper-{name}-v0.3.json",) for split, name in SPLITS.items() if split != "test"},
            _read,
            "the test split, which comes in an archive of its own",
        ),
    )
}
