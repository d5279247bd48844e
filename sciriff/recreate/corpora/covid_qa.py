"""COVID-QA: questions on biomedical papers, in the shape of SQuAD."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sciriff.recreate.corpus import Corpus, Record
from sciriff.run.typed_json import read_json

PMC = re.compile(r"PMC\d+")
HEAD = 1000
"""Characters in which a paper has its address."""


@dataclass
class Answer:
    text: str
    answer_start: int


@dataclass
class Question:
    question: str
    id: int
    answers: list[Answer]
    is_impossible: bool


@dataclass
class Paragraph:
    context: str
    document_id: int
    qas: list[Question]


@dataclass
class Article:
    paragraphs: list[Paragraph]


@dataclass
class Articles:
    data: list[Article]


def _read(split: str, files: list[Path]) -> Iterator[Record]:
    for article in read_json(files[0], Articles, "a file of COVID-QA", "fetch it again").data:
        for paragraph in article.paragraphs:
            documents = [f"doc:covid_qa/{paragraph.document_id}"]
            if address := PMC.search(paragraph.context[:HEAD]):
                documents.append(f"pmc:{address[0]}")
            for question in paragraph.qas:
                yield asdict(question) | {
                    "document_id": paragraph.document_id,
                    "context": paragraph.context,
                    "_documents": documents,
                }


CORPORA = {
    "covid_qa_deepset": (
        Corpus({"train": ("covid_deepset_qa/COVID-QA.json",)}, _read),
        Corpus({"train": ("covid_deepset_qa/200423_covidQA.json",)}, _read, "as of April 2020: 98 papers"),
    )
}
