"""Read the questions of BioASQ's task b: the training file and the golden files have one format."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.recreate.readers.json_files import json_value


@dataclass
class Snippet:
    text: str
    document: str
    """Address of the article in PubMed."""


@dataclass
class Question:
    id: str
    type: str
    body: str
    snippets: list[Snippet]
    ideal_answer: list[str] | str
    exact_answer: Any = None
    """Yes or no; of a list question the synonyms of each item; of a factoid question synonyms, in one list or in
    several. Summary questions have none."""

    @property
    def answers(self) -> list[str]:
        """Answers in sentences."""
        return [self.ideal_answer] if isinstance(self.ideal_answer, str) else self.ideal_answer

    @property
    def context(self) -> str:
        """Snippets, one a line."""
        return "\n".join(snippet.text.replace("\n", " ").strip() for snippet in self.snippets)

    @property
    def documents(self) -> list[str]:
        """PubMed identifiers of the articles that the snippets are from."""
        numbers = [re.search(r"\d+$", snippet.document) for snippet in self.snippets]
        return list(dict.fromkeys(number[0] for number in numbers if number))


@dataclass
class QuestionFile:
    questions: list[Question]


def bioasq_questions(paths: Sequence[Path]) -> Iterator[tuple[str, Question]]:
    """Yield the questions of some files with their places; of questions with the same id the first alone."""
    seen = set()
    for path in paths:
        for number, question in enumerate(json_value(path, QuestionFile, "a file of BioASQ questions").questions, 1):
            if question.id not in seen:
                seen.add(question.id)
                yield f"{path}: question {number}", question
