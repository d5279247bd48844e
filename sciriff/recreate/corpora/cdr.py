"""BioCreative V CDR: 1,500 PubMed abstracts with chemicals and diseases."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sciriff.recreate.bigbio import bigbio_records
from sciriff.recreate.corpus import Corpus, Record, only_file
from sciriff.recreate.readers.annotated_text import AnnotatedText, Entity
from sciriff.recreate.readers.pubtator import pubtator_documents

NAMES = {"train": "Training", "validation": "Development", "test": "Test"}


def read(split: str, files: list[Path]) -> Iterator[Record]:
    """Read a split. The training set is without documents of the development set, which a copy of it has, too."""
    own = only_file([path for path in files if NAMES[split] in path.name])
    elsewhere = {document.name for path in files if path != own for document in pubtator_documents(path)}
    documents = (document for document in pubtator_documents(own) if document.name not in elsewhere)
    return bigbio_records(map(_with_parts, documents))


def _with_parts(document: AnnotatedText) -> AnnotatedText:
    """Make the parts of a composite mention entities beside it, as the published set has both."""
    entities: list[Entity] = []
    for entity in document.entities:
        parts = (replace(entity, id=f"{entity.id}.{i}", pieces=(part,)) for i, part in enumerate(entity.parts, 1))
        entities += [entity, *parts]
    return replace(document, entities=tuple(entities))


FILES = {split: f"cdr/**/CDR_{name}Set.PubTator.txt" for split, name in NAMES.items()}

CORPORA = {
    "aakanksha19/cdr_bigbio_processed": (
        Corpus(
            {
                "train": (FILES["train"], FILES["validation"]),
                "validation": (FILES["validation"],),
                "test": (FILES["test"],),
            },
            read,
        ),
    )
}
