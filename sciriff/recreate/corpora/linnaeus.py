"""LINNAEUS: 100 full texts of PubMed Central with species."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records, pubmed_central, renamed
from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.pubtator import pubtator_documents


def read(split: str, files: list[Path]) -> Iterator[Record]:
    """Yield the documents sorted by their names: the original, a file each, was read in the order of a disk."""
    documents = chain.from_iterable(map(pubtator_documents, files))
    by_name = sorted(documents, key=lambda document: document.name)
    return bigbio_records(renamed(by_name, {"Species": "species"}), pubmed_central)


CORPORA = {
    "bigbio/linnaeus": (
        Corpus(
            {"train": ("aioner_pubtator/Linnaeus_T*.PubTator",)},  # the original has no test set
            read,
            incomplete="a copy whose texts differ from the original's here and there",
        ),
    )
}
