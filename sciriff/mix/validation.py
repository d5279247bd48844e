"""Draw rows to watch training with, apart from the rows of the mix and from the evaluation."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sciriff.config import SourceConfig
from sciriff.hub_rows import MissingSplit
from sciriff.mix.candidates import HELD_OUT_DATASETS, Candidates, Refusals
from sciriff.mix.recipe import Candidate, by_task, in_turn
from sciriff.mix.tally import Tally
from sciriff.records import Conversation
from sciriff.source_files import validation_split

BATCH = 64


@dataclass
class Drawn:
    """The validation rows of one half of the mix."""

    rows: list[Conversation] = field(default_factory=list)
    origin: dict[str, int] = field(default_factory=dict)
    """How many came from where."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Rows that were looked at and not taken, by reason."""
    out_of_reach: str | None = None
    """Why the source could not be had, where it would only have been watched."""

    def leave_out(self, reason: str, rows: int = 1) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + rows


@dataclass
class Seen:
    """The names of rows, and how they begin."""

    names: set[str] = field(default_factory=set)
    questions: set[bytes] = field(default_factory=set)

    def add(self, conversation: Conversation) -> None:
        self.names.add(_name(conversation))
        self.questions.add(question_digest(conversation))

    def noting(self, conversations: Iterable[Conversation]) -> Iterator[Conversation]:
        """The conversations as they come, each of them added."""
        for conversation in conversations:
            self.add(conversation)
            yield conversation

    def __contains__(self, conversation: Conversation) -> bool:
        return _name(conversation) in self.names or question_digest(conversation) in self.questions


def question_digest(conversation: Conversation) -> bytes:
    """Sixteen bytes of what the user says first, the same whatever its case, white space and Unicode form. A system
    message does not count, since many rows share one, nor does the answer: a row whose question was trained on measures
    memory."""
    first = next(message.content for message in conversation.messages if message.role == "user")
    normal = " ".join(unicodedata.normalize("NFKC", first).casefold().split())
    return hashlib.sha256(normal.encode()).digest()[:16]


def draw(
    candidates: Candidates, name: str, source: SourceConfig, spare: Iterable[Sequence[Candidate]], seen: Seen
) -> Drawn:
    """`mix.validation_rows` rows of a source (`sciriff` or `tulu`), or as many as there are: of the groups that the
    caps left, each in turn, then of the source's validation split. What is drawn is added to `seen`."""
    drawn = Drawn()
    refusals = candidates.refusals(candidates.mix.validation_rows, set(), candidates.overlapping)
    _take(candidates, drawn, spare, "left by the caps", seen, refusals)
    if len(drawn.rows) < candidates.mix.validation_rows and (split := validation_split(source)):
        tally = Tally()
        try:
            rows = list(candidates.read(name, split, tally))
        except MissingSplit:
            return drawn
        groups = by_task(rows).values() if name == "sciriff" else [rows]
        for reason, count in tally.reasons.items():
            drawn.leave_out(reason, count)
        _take(candidates, drawn, groups, "validation split", seen, refusals)
    return drawn


def _take(
    candidates: Candidates,
    drawn: Drawn,
    groups: Iterable[Sequence[Candidate]],
    origin: str,
    seen: Seen,
    refusals: Refusals,
) -> None:
    """Add rows of the groups until there are enough, without those that are refused or that `seen` has."""
    wanted, spool = candidates.mix.validation_rows, candidates.spool
    allowed = ([row for row in group if row.dataset not in HELD_OUT_DATASETS] for group in groups)
    order = in_turn(allowed, "validation", candidates.mix.seed)
    before = len(drawn.rows)
    start = 0
    while start < len(order) and len(drawn.rows) < wanted:
        batch = order[start : start + min(BATCH, wanted - len(drawn.rows))]
        start += len(batch)
        for row, reason in zip(batch, refusals(batch), strict=True):
            if reason is not None:
                drawn.leave_out(reason)
            elif (conversation := spool.read(row)) in seen:
                drawn.leave_out("begins like another row")
            else:
                seen.add(conversation)
                drawn.rows.append(conversation)
    if len(drawn.rows) > before:
        drawn.origin[origin] = len(drawn.rows) - before


def _name(conversation: Conversation) -> str:
    return f"{conversation.dataset}/{conversation.id}"
