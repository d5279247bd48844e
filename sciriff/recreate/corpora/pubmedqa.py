"""PubMedQA: questions that the titles of papers ask, to be answered from the abstract without its conclusion."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.json_files import json_value
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line

Labelled = dict[str, dict[str, Any]]
"""By PubMed identifier."""


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for identifier, row in json_value(files[0], Labelled, "PubMedQA's records").items():
        yield row | {"_documents": [f"pmid:{identifier}"]}


def _read_by_ids(split: str, files: list[Path]) -> Iterator[Record]:
    records, ids = sorted(files, key=lambda path: path.name.endswith("_ids.json"))
    rows = json_value(records, Labelled, "PubMedQA's records")
    chosen = json_value(ids, dict[str, list[str]], "lists of PubMed identifiers by split").get(split, [])
    for identifier in chosen:
        if identifier not in rows:
            raise UserError(f"{ids}: {visible_line(identifier)[:20]} is not in {records}")
        yield rows[identifier] | {"_documents": [f"pmid:{identifier}"]}


OFFICIAL = {"train": "pqal_fold0/train_set", "validation": "pqal_fold0/dev_set", "test": "test_set"}

CORPORA = {
    "bigbio/pubmed_qa:pubmed_qa_labeled_fold0_source": (
        Corpus({split: (f"pubmedqa/{name}.json",) for split, name in OFFICIAL.items()}, _read),
        Corpus(dict.fromkeys(OFFICIAL, ("pubmedqa/ori_pqal.json", "pubmedqa/pubmedqa_fold0_ids.json")), _read_by_ids),
    ),
}
