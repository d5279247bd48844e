"""SciERC: entities and relations in abstracts of computer science, at the level of the document."""

from collections.abc import Iterator
from pathlib import Path

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.dygie import DygieDocument, dygie_documents
from sciriff.recreate.readers.joined_tokens import running_text, written


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for document in dygie_documents(files[0]):
        first_of = _first_mentions(document)
        types = {(first, last): kind for mentions in document.ner for first, last, kind in mentions}
        found = [(span, types.get(span, "Unknown")) for span in (cluster[0] for cluster in document.clusters)]
        found += [
            ((first, last), kind)
            for mentions in document.ner
            for first, last, kind in mentions
            if document.text(first, last) not in first_of
        ]
        entities = dict.fromkeys((document.text(*span), kind) for span, kind in sorted(found))
        links = [
            (document.text(*ends[:2]), kind, document.text(*ends[2:]))
            for links in document.relations
            for *ends, kind in links
        ]
        relations = dict.fromkeys(
            (first_of.get(head, head), kind, first_of.get(tail, tail)) for head, kind, tail in links
        )
        yield {
            "org_text": running_text(document.sentences),
            "ner_answer": [[written(text), kind] for text, kind in entities],
            "re_answer": [[written(head), kind, written(tail)] for head, kind, tail in relations],
            "_documents": [f"doc:scierc/{document.doc_key}"],
        }


def _first_mentions(document: DygieDocument) -> dict[str, str]:
    """Text of each mention in a cluster -> text of the cluster's first mention, which stands for all of them."""
    return {document.text(*span): document.text(*cluster[0]) for cluster in document.clusters for span in cluster}


SPLITS = {"train": "train", "validation": "dev", "test": "test"}

CORPORA = {
    "scierc": (Corpus({split: (f"scierc/{name}.json",) for split, name in SPLITS.items()}, _read),),
}
