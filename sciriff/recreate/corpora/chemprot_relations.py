"""ChemProt, as DyGIE prepared it: relations between chemicals and proteins in abstracts."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.dygie import dygie_documents
from sciriff.recreate.readers.joined_tokens import running_text, written

SPLITS = ("train", "validation", "test")


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for document in dygie_documents(files[0]):
        links = [link for links in document.relations for link in links]
        relations = [f"({document.text(*ends[:2])}, {kind}, {document.text(*ends[2:])})" for *ends, kind in links]
        yield {
            "org_text": running_text(document.sentences),
            "re_answer": [written(relation) for relation in dict.fromkeys(relations)],
            "_documents": [f"pmid:{document.doc_key}"],
        }


CORPORA = {
    "chemprot": (Corpus({split: (f"chemprot/{split}.json",) for split in SPLITS}, _read),),
}
