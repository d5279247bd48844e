"""AnatEM: 1,212 abstracts and parts of full texts with anatomical entities."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records, pubmed, pubmed_central
from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.brat import brat_documents


def read(split: str, files: list[Path]) -> Iterator[Record]:
    return bigbio_records(brat_documents(files), document_key)


def document_key(name: str) -> str:
    """Names are PMID-10191918, and PMC-1044634-sec-01 for a part of a full text."""
    archive, number = name.split("-")[:2]
    return pubmed(number) if archive == "PMID" else pubmed_central(number)


SPLITS = {"train": "train", "validation": "devel", "test": "test"}

CORPORA = {
    "bigbio/anat_em": (
        Corpus(
            {
                split: (f"anat_em/**/standoff/{folder}/PM*.txt", f"anat_em/**/standoff/{folder}/PM*.ann")
                for split, folder in SPLITS.items()
            },
            read,
        ),
    )
}
