"""DataFinder: research questions with the data sets that papers used, and descriptions of data sets.

The questions of data_reco_mcq_mc and data_reco_mcq_sc were made of its training part, with negatives that it lists; of
the test part, which lists none, similar questions are made here. They are not those of SciRIFF, so a template file has
to ask for them: `data_dir: datafinder_mc` or `data_dir: datafinder_sc`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.dataset_options import DatasetQuestion, Description
from sciriff.recreate.seeded_order import seeded_order
from sciriff.run.json_lines import read_jsonl

FOLDER = "data_reco_datafinder"
QUERIES, DESCRIPTIONS = f"{FOLDER}/test_data.jsonl", f"{FOLDER}/documents.jsonl"
NEGATIVES = 12
"""Drawn for each question from all data sets that are described."""


@dataclass
class Query:
    query: str
    keyphrase_query: str
    documents: list[str]
    """Names of the data sets that suit."""
    year: int | str = ""


@dataclass
class Dataset:
    id: str
    contents: str


def _read(several: bool, split: str, files: list[Path]) -> Iterator[Record]:
    """Yield the questions that several data sets suit, or one."""
    descriptions, queries = files
    described = {dataset.id: dataset.contents for dataset in read_jsonl(descriptions, Dataset)}
    for number, query in enumerate(read_jsonl(queries, Query)):
        positives = list(dict.fromkeys(query.documents))
        if len(positives) > 1 if several else len(positives) == 1:
            drawn = seeded_order(list(described), 0, "datafinder", number)
            negatives = [name for name in drawn[: NEGATIVES + len(positives)] if name not in positives][:NEGATIVES]
            shown = [Description(name, described[name]) for name in positives + negatives if name in described]
            question = DatasetQuestion(query.query, query.keyphrase_query, positives, negatives, shown, query.year)
            yield asdict(question)


CORPORA = {
    name: (Corpus({"train": (QUERIES, DESCRIPTIONS)}, partial(_read, several)),)
    for name, several in (("datafinder_mc", True), ("datafinder_sc", False))
}
