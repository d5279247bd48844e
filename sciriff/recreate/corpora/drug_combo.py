"""The drug combination extraction data set: sentences, the paragraphs around them, and combinations of drugs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.json_files import json_lines


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for _, row in json_lines(files[0], dict[str, Any]):
        pubmed = re.search(r"pubmed\D*/(\d+)", str(row.get("source")))
        yield row | {"_documents": [f"pmid:{pubmed[1]}" if pubmed else f"doc:drug_combo/{row.get('doc_id')}"]}


CORPORA = {
    "allenai/drug-combo-extraction": (
        Corpus({split: (f"drug_combo_extraction/final_{split}_set.jsonl",) for split in ("train", "test")}, _read),
    ),
}
