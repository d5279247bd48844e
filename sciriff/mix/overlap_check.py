"""Compare rows with the evaluation prompts of a config, and write the findings for the card."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sciriff.config import EvalConfig
from sciriff.data.instances import read_instances
from sciriff.data.mix_card import OverlapCard
from sciriff.data.records import Conversation
from sciriff.data.source_files import instances_source, source_digest
from sciriff.mix.overlap import RULES, Overlap, OverlapIndex
from sciriff.run.digest import value_digest
from sciriff.run.user_error import UserError

MOST_PAIRS = 1_000
"""Pairs that the card lists; the rest are counted. A mix with the held-out tasks' own rows has many thousands."""


@dataclass
class OverlapCheck:
    """Looks rows up among the evaluation prompts and collects the overlaps."""

    index: OverlapIndex
    checked: int = 0
    rows: dict[str, None] = field(default_factory=dict)
    """Names of the rows that overlap, in order."""
    instances: set[str] = field(default_factory=set)
    """Ids of the instances that they overlap with."""
    pairs: dict[tuple[str, str], Overlap] = field(default_factory=dict)
    """The first MOST_PAIRS by row and instance."""
    more_pairs: int = 0

    def overlapping(self, conversations: Sequence[Conversation]) -> list[bool]:
        """Whether each row holds text of an evaluation prompt."""
        found = self.index.find(conversations)
        for conversation, overlaps in zip(conversations, found, strict=True):
            if overlaps:
                self.rows[conversation.name] = None
            for overlap in overlaps:
                self.instances.add(overlap.instance)
                pair = conversation.name, overlap.instance
                if len(self.pairs) < MOST_PAIRS or pair in self.pairs:
                    self.pairs[pair] = overlap
                else:
                    self.more_pairs += 1
        self.checked += len(conversations)
        return [bool(overlaps) for overlaps in found]

    def card(self, left_out: bool = False) -> OverlapCard:
        """The card's `overlap`; `left_out` if the rows that were found are not in the mix."""
        if self.rows:
            summary = (
                f"{len(self.rows):,} of {self.checked:,} rows hold text of {len(self.instances):,} of the "
                f"{len(self.index):,} evaluation prompts{' and are left out' if left_out else ''}"
            )
        else:
            summary = f"none of {self.checked:,} rows holds text of the {len(self.index):,} evaluation prompts"
        return {
            "summary": summary,
            "checked": self.checked,
            "against": len(self.index),
            "found": len(self.rows),
            "instances": len(self.instances),
            "pairs": [
                {
                    "row": row,
                    "instance": overlap.instance,
                    "kind": overlap.kind,
                    "shared_words": overlap.shared_words,
                    "share_of_prompt": round(overlap.share, 4),
                }
                for (row, _), overlap in self.pairs.items()
            ],
            "more_pairs": self.more_pairs,
        }


def unchecked_card(why: str) -> OverlapCard:
    """The card's `overlap` without a comparison."""
    return {"summary": f"not checked for text of the evaluation prompts ({why})", "checked": 0}


def evaluation_digest(evaluation: EvalConfig) -> str:
    """Digest of the evaluation prompts and of the rules of comparison. UserError if there are no prompts."""
    with _way_out():
        own = [sorted(evaluation.own_tasks)] if evaluation.own_tasks else []
        return value_digest([RULES, MOST_PAIRS, source_digest(instances_source(evaluation)), *own])


def overlap_check(evaluation: EvalConfig) -> OverlapCheck:
    """Index the instances of all held-out tasks, whatever eval.tasks and eval.limit choose. UserError if unreadable."""
    with _way_out():
        pools = read_instances(replace(evaluation, tasks=None))
    return OverlapCheck(OverlapIndex([instance for pool in pools.values() for instance in pool]))


@contextmanager
def _way_out() -> Iterator[None]:
    """Add what to do to an error that there are no evaluation prompts."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{error}; mix.overlap=none builds a mix without checking it against them") from None
