"""NLM-Gene: 550 PubMed abstracts with genes."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records, renamed
from sciriff.recreate.corpus import Corpus, Record, only_file
from sciriff.recreate.readers.bioc import bioc_documents
from sciriff.recreate.readers.pubtator import pubtator_documents
from sciriff.recreate.readers.text_lines import text_lines
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError

COPY_TYPES = {"FamilyName": "Other", "DomainMotif": "Domain", "Cell": None, "ChromosomeLocation": None}
"""Types of the PubTator copy that have another name in the original, or none."""


def read_bioc(split: str, files: list[Path]) -> Iterator[Record]:
    """Read the documents that the split's list names, in its order, each from a file of its own."""
    names = only_file([path for path in files if path.suffix == ".txt"])
    documents = {path.name.split(".")[0]: path for path in files if path != names}
    for place, name in text_lines(names):
        if name.strip() and name.strip() not in documents:
            raise UserError(f"{place}: there is no file {shown(name.strip() + '.BioC.XML')}; fetch the corpus again")
        if name.strip():
            yield from bigbio_records(bioc_documents(documents[name.strip()]))


def read_pubtator(split: str, files: list[Path]) -> Iterator[Record]:
    return bigbio_records(renamed(pubtator_documents(only_file(files)), COPY_TYPES))


SPLITS = {"train": "Train", "test": "Test"}

CORPORA = {
    "bigbio/nlm_gene": (
        Corpus(
            {split: (f"nlm_gene/**/Pmidlist.{name}.txt", "nlm_gene/**/*.BioC.XML") for split, name in SPLITS.items()},
            read_bioc,
        ),
        Corpus(
            {split: (f"aioner_pubtator/NLMgene_{name}.PubTator",) for split, name in SPLITS.items()},
            read_pubtator,
            incomplete="a copy with other types of entities than the original (cells and chromosome locations are left "
            "out); its order, and so the ids, may differ",
        ),
    )
}
