"""Make a sentence with tagged tokens a list of the chemicals in it."""

from collections.abc import Iterator

from sciriff.recreate.bigbio import items
from sciriff.recreate.corpus import Record
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError

OUTSIDE, BEGINS, INSIDE = 0, 1, 2
"""Numbers of the tags O, B-CHEBI and I-CHEBI."""


def format_record(record: Record) -> Iterator[Record]:
    """Yield `tokens` and `entities`: the tokens of each mention, joined by blanks, repeated as often as they occur. A
    mention begins with the tag B-CHEBI; I-CHEBI elsewhere than after one marks nothing."""
    tokens, tags = items(record, "tokens"), items(record, "ner_tags")
    if len(tokens) != len(tags):
        raise UserError(f"ner_tags: must be as many as the {len(tokens)} tokens, and are {len(tags)}")
    mentions: list[list[str]] = []
    before = OUTSIDE
    for number, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
        if not isinstance(token, str):
            raise UserError(f"tokens[{number}]: must be a string, and is {shown(token)}")
        if tag not in (OUTSIDE, BEGINS, INSIDE):
            raise UserError(f"ner_tags[{number}]: must be 0 (O), 1 (B-CHEBI) or 2 (I-CHEBI), and is {shown(tag)}")
        if tag == BEGINS:
            mentions.append([token])
        elif tag == INSIDE and before != OUTSIDE:
            mentions[-1].append(token)
        else:
            tag = OUTSIDE
        before = tag
    yield {"tokens": tokens, "entities": [" ".join(mention) for mention in mentions]}
