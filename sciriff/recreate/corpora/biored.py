"""BioRED: 600 PubMed abstracts with six types of entities."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records
from sciriff.recreate.corpus import Corpus, Record, only_file
from sciriff.recreate.readers.bioc import bioc_documents
from sciriff.recreate.readers.pubtator import pubtator_documents


def read_pubtator(split: str, files: list[Path]) -> Iterator[Record]:
    return bigbio_records(pubtator_documents(only_file(files)))


def read_bioc(split: str, files: list[Path]) -> Iterator[Record]:
    return bigbio_records(bioc_documents(only_file(files)))


SPLITS = {"train": "Train", "validation": "Dev", "test": "Test"}

CORPORA = {
    "bigbio/biored": (
        Corpus({split: (f"biored/**/{name}.PubTator",) for split, name in SPLITS.items()}, read_pubtator),
        Corpus({split: (f"biored/**/{name}.BioC.[XJ]*",) for split, name in SPLITS.items()}, read_bioc),
    )
}
