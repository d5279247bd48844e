"""Compare rows with the evaluation prompts of a config, and say in the card what was found."""

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
    """Looks rows up among the evaluation prompts and remembers what it came across."""

    index: OverlapIndex
    checked: int = 0
    rows: dict[str, None] = field(default_factory=dict)
    """Names of the rows that overlap, in the order in which they were met."""
    instances: set[str] = field(default_factory=set)
    """Ids of the instances whose prompts they overlap."""
    pairs: dict[tuple[str, str], Overlap] = field(default_factory=dict)
    """The first MOST_PAIRS by row and instance."""
    more_pairs: int = 0

    def overlapping(self, conversations: Sequence[Conversation]) -> list[bool]:
        """Whether each row holds text of an evaluation prompt."""
        found = self.index.find(conversations)
        for conversation, overlaps in zip(conversations, found, strict=True):
            if overlaps:
                self._remember(conversation.name, overlaps)
        self.checked += len(conversations)
        return [bool(overlaps) for overlaps in found]

    def _remember(self, row: str, overlaps: Sequence[Overlap]) -> None:
        self.rows[row] = None
        for overlap in overlaps:
            self.instances.add(overlap.instance)
            if len(self.pairs) < MOST_PAIRS or (row, overlap.instance) in self.pairs:
                self.pairs[row, overlap.instance] = overlap
            else:
                self.more_pairs += 1

    def card(self, left_out: bool = False) -> OverlapCard:
        """What the card says under `overlap`; `left_out` if the rows that were found are not in the mix."""
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
    """The card of rows that were not compared with anything."""
    return {"summary": f"not checked for text of the evaluation prompts ({why})", "checked": 0}


def evaluation_digest(evaluation: EvalConfig) -> str:
    """Digest of the prompts that rows are compared with, and of the rules by which they are.

    UserError where there are none.
    """
    with _way_out():
        return value_digest([RULES, MOST_PAIRS, source_digest(instances_source(evaluation))])


def overlap_check(evaluation: EvalConfig) -> OverlapCheck:
    """A check against the instances of all held-out tasks, whatever eval.tasks and eval.limit ask of this run.

    UserError where they cannot be read.
    """
    with _way_out():
        pools = read_instances(replace(evaluation, tasks=None))
    return OverlapCheck(OverlapIndex([instance for pool in pools.values() for instance in pool]))


@contextmanager
def _way_out() -> Iterator[None]:
    """What a user can do who has no evaluation prompts, behind the error that says so."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{error}; mix.overlap=none builds a mix without checking it against them") from None
