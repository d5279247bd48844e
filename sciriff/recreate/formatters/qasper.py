"""Qasper: a question on a paper, with the paragraphs that answer it among other sections of the paper."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sciriff.recreate.corpus import Record
from sciriff.recreate.object_lists import objects
from sciriff.recreate.seeded_order import seeded_order
from sciriff.run.typed_json import typed
from sciriff.run.user_error import UserError

INSTRUCTION_TOKENS = 300
"""Kept free for the words of the template."""
FLOAT, FORMULA = "FLOAT SELECTED", "INLINEFORM"
"""Marks of evidence that is a figure or table, and of a formula that the corpus does not have."""


@dataclass
class Section:
    paragraphs: list[str]
    section_name: str | None = None

    def text(self) -> str:
        """Name and paragraphs, a line each; empty without a paragraph."""
        paragraphs = [stripped for paragraph in self.paragraphs if (stripped := paragraph.strip())]
        return "\n".join([self.section_name or "Unnamed section", *paragraphs]) if paragraphs else ""


@dataclass
class Answer:
    unanswerable: bool
    extractive_spans: list[str]
    yes_no: bool | None
    free_form_answer: str
    evidence: list[str]


@dataclass
class Annotation:
    answer: Answer


@dataclass
class Question:
    question: str
    answers: list[Annotation]


@dataclass
class Caption:
    caption: str


@dataclass
class Paper:
    title: str
    abstract: str
    full_text: list[Section]
    qas: list[Question]
    figures_and_tables: list[Caption] = field(default_factory=list)


def format_record(
    record: Record,
    *,
    question_type: str,
    count_tokens: Callable[[str], int] | None = None,
    context_window: int | None = None,
    seed: int = 0,
) -> Iterator[Record]:
    """Yield paper, question, answer, evidence and unanswerable for each question of a type.

    `question_type` is `abstractive` (the answer is text) or `extractive` (a list of spans). The first answer of that
    type counts. A question is skipped if it has none, or one by yes or no or of evidence in figures and tables, of
    evidence that the paper's text does not have, or with a formula in it; "unanswerable" is no answer, so the field of
    that name is always false.

    `paper` has the title, the abstract, sections and captions, each in the paper's order, an empty line between them:
    the sections with the evidence, and of the rest what fits into `context_window` (estimated as the sum of the parts'
    tokens), drawn by the row's id and `seed`; without a window or `count_tokens` all of it. The authors drew too, in an
    order that is lost. `_id` is the paper's and the count of its questions of that type, from 0: "17.0".
    """
    if question_type not in ("abstractive", "extractive"):
        raise UserError(f"question_type={question_type!r} is not known; use abstractive or extractive")
    paper = typed(_as_json(record), Paper)
    head = [paper.title.strip(), paper.abstract.strip()]
    captions = [caption.caption.strip() for caption in paper.figures_and_tables]
    parts = list(filter(None, [*map(Section.text, paper.full_text), *captions]))
    cost = [count_tokens(part) for part in parts] if count_tokens and context_window else []
    counter = 0
    for question in paper.qas:
        found = _answer(question, question_type)
        if found is None or not all(any(item in part for part in [*head, *parts]) for item in found[1]):
            continue
        answer, evidence = found
        identifier = f"{record['_id']}.{counter}"
        counter += 1
        shown = {i for i, part in enumerate(parts) if any(item in part for item in evidence)}
        if count_tokens and context_window:
            # a template may repeat the question
            fixed = "\n\n".join([*head, question.question, question.question, str(answer), *evidence])
            left = context_window - INSTRUCTION_TOKENS - count_tokens(fixed) - sum(cost[i] for i in shown)
            for i in seeded_order(range(len(parts)), seed, "qasper", identifier):
                if i not in shown and cost[i] <= left:
                    shown.add(i)
                    left -= cost[i]
        else:
            shown = set(range(len(parts)))
        yield {
            "_id": identifier,
            "paper": "\n\n".join([*head, *(parts[i] for i in sorted(shown))]),
            "question": question.question,
            "answer": answer,
            "evidence": evidence,
            "unanswerable": False,
        }


def _as_json(record: Record) -> Record:
    """Return the record with lists of objects, in whose place the hub's tables have objects of lists."""
    changed: dict[str, Any] = {name: objects(record.get(name), name) for name in ("full_text", "qas")}
    if isinstance(changed["qas"], list):
        changed["qas"] = [
            question | {"answers": objects(question.get("answers"), "qas.answers")} for question in changed["qas"]
        ]
    if "figures_and_tables" in record:
        changed["figures_and_tables"] = objects(record["figures_and_tables"], "figures_and_tables") or []
    return record | changed


def _answer(question: Question, question_type: str) -> tuple[str | list[str], list[str]] | None:
    """Return the first answer of the type and its evidence, None if the question is to be skipped."""
    for annotation in question.answers:
        given = annotation.answer
        answer = given.free_form_answer.strip() if question_type == "abstractive" else given.extractive_spans
        if answer and not given.unanswerable and given.yes_no is None:
            evidence = list(dict.fromkeys(stripped for item in given.evidence if (stripped := item.strip())))
            skipped = not evidence or any(FLOAT in item for item in evidence) or FORMULA in str(answer)
            return None if skipped else (answer, evidence)
    return None
