"""MultiCite: the intents of citations, in the context that annotators found sufficient."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.json_files import json_list


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for _, row in json_list(files[0], dict[str, Any]):
        yield row | {"_documents": [f"doc:multicite/{str(row.get('id')).rpartition('_')[0]}"]}


SPLITS = {"train": "train", "validation": "dev", "test": "test"}

CORPORA = {
    "kejian/MultiCite-classification-gold-context": (
        Corpus({split: (f"multicite/{name}.json",) for split, name in SPLITS.items()}, _read),
    ),
}
