"""NLM-Chem: 150 full texts of PubMed Central with chemicals."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records, pubmed_central, renamed
from sciriff.recreate.corpus import Corpus, Record, only_file
from sciriff.recreate.readers.bioc import bioc_documents

INDEXING = {"MeSH_Indexing_Chemical": None}
"""Says of the whole document what it is about, and marks no text."""


def read(split: str, files: list[Path]) -> Iterator[Record]:
    return bigbio_records(renamed(bioc_documents(only_file(files)), INDEXING), pubmed_central)


SPLITS = {"train": "train", "validation": "dev", "test": "test"}

CORPORA = {
    "bigbio/nlmchem": tuple(
        Corpus(
            {split: (f"nlmchem/**/BC7T2-NLMChem-corpus-{name}.BioC.{form}",) for split, name in SPLITS.items()}, read
        )
        for form in ("xml", "json")
    )
}
