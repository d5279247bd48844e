"""Data sets for a research question, several of them right, among options with descriptions."""

from collections.abc import Iterator

from sciriff.recreate.corpus import Record
from sciriff.recreate.dataset_options import DatasetQuestion
from sciriff.recreate.seeded_order import seeded_order
from sciriff.run.typed_json import typed

SEPARATOR = ", "
"""Between the right options in `answer`, where templates split it: an option with it in its name is left out."""


def format_record(
    record: Record, *, num_sents_per_cand: int = 2, max_cands: int = 7, max_pos_cands: int = 5, seed: int = 0
) -> Iterator[Record]:
    """Yield query, keyphrase_query, context, options and answer; nothing without a right option.

    At most `max_pos_cands` of `positives`, then `negatives` up to `max_cands` options, drawn and ordered by the row's
    id and `seed`; the authors drew from a generator whose state is lost.
    """
    question = typed(record, DatasetQuestion)
    positives, negatives = (
        [name for name in dict.fromkeys(names) if SEPARATOR not in name]
        for names in (question.positives, question.negatives)
    )
    right = seeded_order(positives, seed, "positives", record["_id"])[:max_pos_cands]
    wrong = [name for name in seeded_order(negatives, seed, "negatives", record["_id"]) if name not in positives]
    if right:
        options = seeded_order(right + wrong[: max(0, max_cands - len(right))], seed, "options", record["_id"])
        answer = SEPARATOR.join(name for name in options if name in right)
        yield question.shown(options, num_sents_per_cand) | {"answer": answer}
