"""NCBI Disease: 792 PubMed abstracts with diseases."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records
from sciriff.recreate.corpus import Corpus, Record, only_file
from sciriff.recreate.readers.annotated_text import AnnotatedText
from sciriff.recreate.readers.pubtator import pubtator_documents
from sciriff.run.user_error import UserError

TRAIN_DOCUMENTS, DEVELOPMENT_DOCUMENTS = 593, 100
"""One training document is there twice."""


def read(split: str, files: list[Path]) -> Iterator[Record]:
    return bigbio_records(_distinct(pubtator_documents(only_file(files))))


def read_joined(split: str, files: list[Path]) -> Iterator[Record]:
    """Read a split of the copy that has the training and the development set in one file, in this order."""
    file = only_file(files)
    documents = list(pubtator_documents(file))
    if split != "test":
        if len(documents) != TRAIN_DOCUMENTS + DEVELOPMENT_DOCUMENTS:
            problem = f"{file}: has {len(documents)} documents, not {TRAIN_DOCUMENTS} + {DEVELOPMENT_DOCUMENTS}"
            raise UserError(f"{problem}, so where the development set begins is not known; fetch the file again")
        documents = documents[:TRAIN_DOCUMENTS] if split == "train" else documents[TRAIN_DOCUMENTS:]
    return bigbio_records(_distinct(documents))


def _distinct(documents: Iterable[AnnotatedText]) -> Iterator[AnnotatedText]:
    """The first document of each name."""
    seen: set[str] = set()
    for document in documents:
        if document.name not in seen:
            seen.add(document.name)
            yield document


ORIGINAL = {"train": "train", "validation": "develop", "test": "test"}
JOINED = {"train": "TrainDev", "validation": "TrainDev", "test": "Test"}

CORPORA = {
    "bigbio/ncbi_disease": (
        Corpus({split: (f"ncbi_disease/**/NCBI{name}set_corpus.txt",) for split, name in ORIGINAL.items()}, read),
        Corpus(
            {split: (f"aioner_pubtator/NCBIdisease_{name}.PubTator",) for split, name in JOINED.items()}, read_joined
        ),
    )
}
