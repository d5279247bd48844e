"""QASA: a question on a paper, the passages that answer it, and a composed answer."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.recreate.object_lists import objects
from sciriff.recreate.sentences import sentences
from sciriff.run.typed_json import typed

WORD = re.compile(r"\w+")
COMMON = frozenset(
    "a an and are as at be been but by can did do does for from had has have how if in into is it its may not of on or "
    "so such than that the their them then there these they this those to was we were what when where which while who "
    "why will with would you your".split()
)
"""Words that say nothing of what a sentence is on."""


@dataclass
class Passage:
    context: str


@dataclass
class Question:
    question: str
    composition: str
    evidential_info: list[Passage]


def format_record(
    record: Record,
    *,
    tokenizer_path: str | None = None,
    instruction_tokens: int = 200,
    removal_thresh_percentage: float = 0.2,
    count_tokens: Callable[[str], int] | None = None,
    context_window: int | None = None,
) -> Iterator[Record]:
    """Yield context, question and composition; nothing without a passage.

    The context has each passage once, on lines of its own. Where it does not fit into `context_window` less
    `instruction_tokens` and the tokens of question and answer, the sentences that share the fewest words with the
    question and the answer go, the last first; a row that would lose more than `removal_thresh_percentage` of its
    sentences is left out. `tokenizer_path` is not used: `count_tokens` counts.
    """
    asked = typed(record | {"evidential_info": objects(record.get("evidential_info"), "evidential_info")}, Question)
    question, composition = asked.question, asked.composition
    passages = dict.fromkeys(passage.context.strip() for passage in asked.evidential_info)
    context: str | None = "\n".join(filter(None, passages))
    if context and count_tokens and context_window:
        room = context_window - instruction_tokens - count_tokens(question) - count_tokens(composition)
        if count_tokens(context) > room:
            context = _shortened(context, f"{question} {composition}", room, removal_thresh_percentage, count_tokens)
    if context:
        yield {"context": context, "question": question, "composition": composition}


def _shortened(context: str, topic: str, room: int, share: float, count_tokens: Callable[[str], int]) -> str | None:
    """Leave out the sentences furthest from the topic, at most a share of them; None if that is not enough."""
    kept = sentences(context)
    words = _words(topic)
    furthest = sorted(range(len(kept)), key=lambda i: (len(words & _words(kept[i])), -i))
    removed: set[int] = set()
    for i in furthest[: int(share * len(kept))]:
        removed.add(i)
        shorter = " ".join(kept[j] for j in range(len(kept)) if j not in removed)
        if count_tokens(shorter) <= room:
            return shorter
    return None


def _words(of: str) -> set[str]:
    return set(WORD.findall(of.lower())) - COMMON
