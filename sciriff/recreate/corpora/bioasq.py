"""BioASQ task 11b: questions of biomedical experts, with snippets of the articles that answer them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from sciriff.recreate.corpus import Corpus, Record
from sciriff.recreate.readers.bioasq import Question, bioasq_questions
from sciriff.recreate.text_similarity import similarity
from sciriff.run.typed_json import WrongType, typed
from sciriff.run.user_error import UserError

FOLDER = "[bB]io[aA][sS][qQ]*/**"
TEST = f"{FOLDER}/11B*_golden.json"

Synonyms = Annotated[list[str], Meta(min_length=1)]
Items = list[Synonyms | str]
SomeItems = Annotated[Items, Meta(min_length=1)]

CLOSE = 80
"""Percent of similarity above which the longest answer repeats the snippets, so the shortest is taken."""


def _read(kind: str, fields: Callable[[Question], Record | None], split: str, files: list[Path]) -> Iterator[Record]:
    for where, question in bioasq_questions(files):
        if question.type != kind:
            continue
        try:
            record = fields(question)
        except WrongType as error:
            raise UserError(f"{where}: the answer of this {kind} question: {error}") from None
        if record is not None:
            documents = [f"pmid:{number}" for number in question.documents]
            yield {"snippets": question.context, "question": question.body, **record, "_documents": documents}


def _yesno(question: Question) -> Record:
    return {"binary_ans": typed(question.exact_answer, str), "long_ans": " ".join(question.answers)}


def _list(question: Question) -> Record:
    """The first synonym of each item."""
    items = typed(question.exact_answer, Items)
    return {"correct_ans": ", ".join(item if isinstance(item, str) else item[0] for item in items)}


def _factoid(question: Question) -> Record:
    """The longest of all synonyms."""
    items = typed(question.exact_answer, SomeItems)
    synonyms = [synonym for item in items for synonym in ([item] if isinstance(item, str) else item)]
    return {"correct_ans": max(synonyms, key=len)}


def _summary(question: Question) -> Record | None:
    """The longest answer, or the shortest where that one is nearly the snippets; None where it is the snippets."""
    longest = max(typed(question.answers, Synonyms), key=len)
    if longest.lower() == question.context.lower():
        return None
    if similarity(question.context, longest) > CLOSE:
        return {"answer": min(question.answers, key=len)}
    return {"answer": longest}


def _corpora(kind: str, fields: Callable[[Question], Record | None]) -> tuple[Corpus, ...]:
    read = partial(_read, kind, fields)
    return (
        Corpus({"train": (f"{FOLDER}/training11b.json",), "test": (TEST,)}, read),
        Corpus(
            {"train": (f"{FOLDER}/9B*_golden.json", f"{FOLDER}/10B*_golden.json"), "test": (TEST,)},
            read,
            incomplete="the golden sets of 9b and 10b stand for training11b.json, which bioasq.org gives out once one "
            "has registered there",
        ),
    )


CORPORA = {
    "bioasq_task11b_list_qa": _corpora("list", _list),
    "bioasq_task11b_factoid_qa": _corpora("factoid", _factoid),
    "bioasq_task11b_yesno_qa": _corpora("yesno", _yesno),
    "bioasq_task11b_summary_qa": _corpora("summary", _summary),
}
