"""Papers of arXiv and PubMed with their abstracts, a line each, sentences apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sciriff.recreate.corpus import Corpus, Record
from sciriff.run.json_lines import read_jsonl

SPLITS = {"train": "train", "validation": "val", "test": "test"}
DOCUMENT = {"arxiv": "arxiv", "pubmed": "pmc"}


@dataclass
class Paper:
    article_id: str
    article_text: list[str]
    abstract_text: list[str]
    """Each sentence between <S> and </S>."""
    section_names: list[str]


def _read(subset: str, split: str, files: list[Path]) -> Iterator[Record]:
    """Yield records as the hub has them: sentences and headings joined by newlines, the marks cut out."""
    for paper in read_jsonl(files[0], Paper, "fetch the file again"):
        yield {
            "article": "\n".join(paper.article_text),
            "abstract": "\n".join(paper.abstract_text).replace("<S>", "").replace("</S>", ""),
            "section_names": "\n".join(paper.section_names),
            "_documents": [f"{DOCUMENT[subset]}:{paper.article_id}"],
        }


CORPORA = {
    f"scientific_papers:{subset}": (
        Corpus(
            {split: (f"scientific_papers/{subset}-dataset/{name}.txt",) for split, name in SPLITS.items()},
            partial(_read, subset),
        ),
    )
    for subset in DOCUMENT
}
