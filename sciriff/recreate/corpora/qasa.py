"""QASA: questions on papers of machine learning, an object by number in one file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.recreate.corpus import Corpus, Record
from sciriff.run.typed_json import read_json


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for row in read_json(files[0], dict[str, dict[str, Any]], "questions of QASA by number", "fetch it again").values():
        arxiv = row.get("arxiv_id")
        yield row | {"_documents": [f"arxiv:{arxiv}" if arxiv else f"doc:qasa/{row.get('paper_id')}"]}


CORPORA = {"qasa": (Corpus({"train": ("qasa/testset_answerable_1554_v1.1.json",)}, _read),)}
