"""DDI: 1,017 texts of DrugBank and MEDLINE with drugs."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records, pubmed
from sciriff.recreate.corpus import Corpus, Record, only_file
from sciriff.recreate.readers.brat import brat_archive

FOLDERS = {"train": "Train", "test": "Test"}


def read(split: str, files: list[Path]) -> Iterator[Record]:
    """Yield the documents sorted by their names: the published order was that of a disk."""
    return bigbio_records(brat_archive(only_file(files), FOLDERS[split]), document_key)


def document_key(name: str) -> str:
    """MEDLINE's texts are named by number, DrugBank's by drug."""
    return pubmed(name) if name.isdecimal() else f"doc:drugbank/{name}"


CORPORA = {
    "bigbio/ddi_corpus": (Corpus(dict.fromkeys(FOLDERS, ("ddi/DDICorpus-2013(BRAT).zip",)), read),),
}
