"""SciFact, CovidFact and HealthVer: claims, each with an abstract that may support or contradict it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.scifact import cited_abstracts

VERDICTS = {"REFUTE": "CONTRADICT"}
"""SciFact's own word -> that of the data set on the hub."""


def _read(papers: str, split: str, files: list[Path]) -> Iterator[Record]:
    """Records of a claim and an abstract. `papers` begins the key of an abstract; that of a claim is its text, which
    some have under several ids."""
    claims, corpus = sorted(files, key=lambda path: path.name.startswith("corpus"))
    for pair in cited_abstracts(claims, corpus):
        labels = [rationale.label for rationale in pair.rationales]
        yield {
            "claim_id": pair.claim.id,
            "claim": pair.claim.claim,
            "abstract_id": pair.abstract.doc_id,
            "title": pair.abstract.title,
            "abstract": [sentence.strip() for sentence in pair.abstract.abstract],
            "verdict": VERDICTS.get(labels[0], labels[0]) if labels else "NEI",
            "evidence": [sentence for rationale in pair.rationales for sentence in rationale.sentences],
            "_documents": [f"{papers}{pair.abstract.doc_id}", f"claim:{pair.claim.claim}"],
        }


def _corpus(folder: str, papers: str, splits: dict[str, str], corpus: str = "corpus.jsonl") -> Corpus:
    files = {split: (f"{folder}/claims_{name}.jsonl", f"{folder}/{corpus}") for split, name in splits.items()}
    return Corpus(files, partial(_read, papers))


CORPORA = {
    # The labels of SciFact's test claims are not published.
    "allenai/scifact_entailment": tuple(
        _corpus("scifact", "s2:", {"train": "train", "validation": "dev"}, corpus)
        for corpus in ("corpus.jsonl", "corpus_cited.jsonl")
    ),
    "dwadden/covidfact_entailment": (_corpus("covidfact", "doc:covidfact/", {"train": "train", "test": "test"}),),
    "dwadden/healthver_entailment": (
        _corpus("healthver", "doc:healthver/", {"train": "train", "validation": "dev", "test": "test"}),
    ),
}
