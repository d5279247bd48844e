"""Data sets for a research question, one of them right, among four options with descriptions."""

from collections.abc import Iterator

from sciriff.recreate.corpus import Record
from sciriff.recreate.dataset_options import DatasetQuestion
from sciriff.recreate.seeded_order import seeded_order
from sciriff.run.typed_json import typed

OPTIONS = 4


def format_record(record: Record, *, num_sents_per_cand: int = 2, seed: int = 0) -> Iterator[Record]:
    """Yield year, query, keyphrase_query, context, options and answer; nothing unless one option is right.

    Three of `negatives` are drawn, and all options ordered, by the row's id and `seed`; the authors drew from a
    generator whose state is lost.
    """
    question = typed(record, DatasetQuestion)
    positives, negatives = list(dict.fromkeys(question.positives)), list(dict.fromkeys(question.negatives))
    wrong = [name for name in seeded_order(negatives, seed, "negatives", record["_id"]) if name not in positives]
    if len(positives) == 1 and wrong:
        options = seeded_order(positives + wrong[: OPTIONS - 1], seed, "options", record["_id"])
        shown = question.shown(options, num_sents_per_cand)
        yield shown | {"year": question.year, "answer": positives[0]}
