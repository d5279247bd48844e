"""SciTLDR: the abstract, introduction and conclusion of a paper, and its summary in a sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.json_files import json_lines


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for _, row in json_lines(files[0], dict[str, Any]):
        yield row | {"_documents": [f"openreview:{row.get('paper_id')}"]}


SPLITS = {"train": "train", "validation": "dev", "test": "test"}

CORPORA = {
    "allenai/scitldr:AIC": tuple(
        Corpus({split: (f"{folder}/{name}.jsonl",) for split, name in SPLITS.items()}, _read)
        for folder in ("SciTLDR-Data/SciTLDR-AIC", "scitldr_AIC")
    ),
}
