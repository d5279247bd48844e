"""SciERC: entities by type, and relations, of an abstract of computer science."""

from collections.abc import Iterator
from dataclasses import dataclass

from sciriff.recreate.corpus import Record
from sciriff.run.typed_json import typed
from sciriff.run.visible import visible_line

TYPES = ("Task", "Method", "Metric", "Material", "OtherScientificTerm", "Generic")

RESPACED = ((" - ", "-"), (" , ", ", "), (" 's", "'s"))
"""Spacing of tokens -> of text; only the first that a mention has is changed."""

LONGEST_SHOWN = 80
"""Characters of an entity shown in an error."""


@dataclass
class Abstract:
    org_text: str
    ner_answer: list[tuple[str, str]]
    """(entity, type)"""
    re_answer: list[tuple[str, str, str]]
    """(head, relation, tail)"""


def format_record(record: Record) -> Iterator[Record]:
    """Yield the entities as they were annotated, and the relations with their ends as the text spells them.

    Nothing where a mention is not in the text, even with its tokens respaced. Both lists are in the order of the
    record's.
    """
    abstract = typed(record, Abstract)
    by_type: dict[str, list[str]] = {kind: [] for kind in TYPES}
    for entity, kind in abstract.ner_answer:
        if kind not in by_type:
            shown, known = visible_line(f"{entity}: {kind}")[:LONGEST_SHOWN], ", ".join(TYPES)
            raise ValueError(f"ner_answer: {shown!r} has a type that is none of {known}")
        by_type[kind].append(entity)
    names = [name for name, _ in abstract.ner_answer]
    names += [name for head, _, tail in abstract.re_answer for name in (head, tail)]
    spelt = {name: _spelt(name, abstract.org_text) for name in names}
    if all(name in abstract.org_text for name in spelt.values()):
        yield {
            **record,
            "ner_dict": by_type,
            "ner_pipe_str": " || ".join(f"{name}: {kind}" for name, kind in abstract.ner_answer),
            "re_answer": [[spelt[head], spelt[tail], relation] for head, relation, tail in abstract.re_answer],
        }


def _spelt(mention: str, text: str) -> str:
    if mention not in text:
        for spaced, close in RESPACED:
            if spaced in mention:
                return mention.replace(spaced, close)
    return mention
