"""COVID-QA: a question on a biomedical paper, answered by a passage of it."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from sciriff.recreate.corpus import Record
from sciriff.recreate.object_lists import objects
from sciriff.recreate.seeded_order import seeded_share
from sciriff.recreate.sentences import sentence_spans
from sciriff.run.typed_json import typed
from sciriff.run.user_error import UserError


@dataclass
class Answer:
    text: str
    answer_start: int
    """Character of the context at which it begins, or about there."""


@dataclass
class Question:
    question: str
    context: str
    answers: list[Answer]
    is_impossible: bool = False


def format_record(
    record: Record,
    *,
    tokenizer_path: str | None = None,
    instruction_tokens: int = 200,
    count_tokens: Callable[[str], int] | None = None,
    context_window: int | None = None,
    seed: int = 0,
) -> Iterator[Record]:
    """Yield article, question and answer; nothing for a question that has none.

    The first answer counts. Of a paper that does not fit into `context_window`, less `instruction_tokens` and the
    tokens of question and answer, `article` has the sentences with the answer and as many around them as fit
    (estimated as the sum of the sentences' tokens). The share before it is drawn by the row's id and `seed`, so that it
    may stand anywhere. The authors drew too, in an order that is lost. `tokenizer_path` is not
    used: `count_tokens` counts.
    """
    asked = typed(record | {"answers": objects(record.get("answers"), "answers")}, Question)
    if asked.is_impossible or not asked.answers:
        return
    question, context = asked.question.strip(), asked.context
    answer = asked.answers[0].text
    begin = _nearest(context, answer, asked.answers[0].answer_start)
    article = context.strip()
    if count_tokens and context_window:
        room = context_window - instruction_tokens - count_tokens(question) - count_tokens(answer)
        article = _around(context, begin, begin + len(answer), room, count_tokens, seed, record["_id"])
    yield {"article": article, "question": question, "answer": answer.strip()}


def _nearest(context: str, answer: str, begin: int) -> int:
    """Return where the answer stands nearest to `begin`: a sixth of the corpus's places are off by a few characters."""
    before, after = context.rfind(answer, 0, max(0, begin) + len(answer)), context.find(answer, max(0, begin))
    found = [place for place in (before, after) if place >= 0]
    if not answer.strip() or not found:
        raise UserError(f"answers: the context does not have the answer, at answer_start={begin} or elsewhere")
    return min(found, key=lambda place: abs(place - begin))


def _around(
    context: str, begin: int, end: int, room: int, count_tokens: Callable[[str], int], seed: int, identifier: object
) -> str:
    """Cut the sentences with context[begin:end] and those around them that fit into `room` tokens."""
    spans = _spans(context)
    starts = [start for start, _ in spans]
    first = max(0, bisect_right(starts, begin) - 1)
    last = max(first, bisect_right(starts, end - 1) - 1)
    left = room - count_tokens(context[spans[first][0] : max(end, spans[last][1])])
    before = int(left * seeded_share(seed, "covid_deepset_qa", identifier))
    # what one side leaves, at an end of the paper or before a long sentence, is the other's
    for side, most in ((-1, before), (1, left), (-1, left)):
        while 0 <= (place := first - 1 if side < 0 else last + 1) < len(spans):
            cost = _tokens(count_tokens, context[slice(*spans[place])])
            if cost > min(most, left):
                break
            most, left = most - cost, left - cost
            first, last = min(first, place), max(last, place)
    return context[min(begin, spans[first][0]) : max(end, spans[last][1])].strip()


# the questions on a paper follow each other


@lru_cache(maxsize=4)
def _spans(context: str) -> list[tuple[int, int]]:
    return sentence_spans(context)


@lru_cache(maxsize=1 << 13)
def _tokens(count_tokens: Callable[[str], int], sentence: str) -> int:
    """Tokens of a sentence and of the white space before it."""
    return count_tokens(sentence) + 1
