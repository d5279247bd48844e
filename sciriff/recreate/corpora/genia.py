"""GENIA, as DyGIE++ prepared it: entities and coreference in abstracts of molecular biology."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.dygie import DygieDocument, dygie_documents
from sciriff.recreate.readers.joined_tokens import running_text, written

SPLITS = ("train", "validation", "test")


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for document in dygie_documents(files[0]):
        medline = str(document.doc_key).partition("_")[0]  # MEDLINE's own numbers, which are not PubMed's
        yield {
            "org_text": running_text(document.sentences),
            "ner_answer": [written(entity) for entity in _entities(document)],
            "_documents": [f"medline:{medline}"],
        }


def _entities(document: DygieDocument) -> list[str]:
    """Entities as "text: type". Mentions that corefer with an entity take the type of the first one, in the order of
    annotation, that has the text of the cluster's first mention in it."""
    entities = {f"{document.text(*span)}: {kind}": None for mentions in document.ner for *span, kind in mentions}
    for first, *others in document.clusters:
        name = document.text(*first)
        holder = next((entity for entity in entities if name in entity), None)
        # Split at the first colon, so in the rare text that has one the "type" is the rest of the text.
        if holder is not None and (kind := holder.split(": ")[1]):
            entities |= {f"{document.text(*span)}: {kind}": None for span in others}
    return list(entities)


CORPORA = {
    "genia": (Corpus({split: (f"genia/{split}.json",) for split in SPLITS}, _read),),
}
