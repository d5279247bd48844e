"""GNormPlus: 694 PubMed abstracts with genes, gene families and domains."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records
from sciriff.recreate.corpus import Corpus, Record, only_file
from sciriff.recreate.readers.bioc import bioc_documents
from sciriff.recreate.readers.pubtator import pubtator_documents


def read_bioc(split: str, files: list[Path]) -> Iterator[Record]:
    return bigbio_records(chain.from_iterable(map(bioc_documents, files)))


def read_pubtator(split: str, files: list[Path]) -> Iterator[Record]:
    return bigbio_records(pubtator_documents(only_file(files)))


CORPORA = {
    "bigbio/gnormplus": (
        Corpus(
            {
                "train": ("gnormplus/**/BC2GNtrain.BioC.xml", "gnormplus/**/NLMIAT.BioC.xml"),
                "test": ("gnormplus/**/BC2GNtest.BioC.xml",),
            },
            read_bioc,
        ),
        Corpus(
            {
                "train": ("aioner_pubtator/GNormPlus_Train.PubTator",),
                "test": ("aioner_pubtator/GNormPlus_Test.PubTator",),
            },
            read_pubtator,
            incomplete="a copy whose order, and so the ids, may differ from the original's",
        ),
    )
}
