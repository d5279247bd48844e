"""Draw validation rows, apart from the rows of the mix and from the evaluation."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sciriff.config import SourceConfig
from sciriff.data.hub_rows import MissingSplit
from sciriff.data.records import Conversation, Instance
from sciriff.data.source_files import validation_split
from sciriff.mix.candidates import Candidates
from sciriff.mix.overlap import LEAST_PROMPTS, OverlapIndex
from sciriff.mix.recipe import Candidate, by_task, in_turn
from sciriff.mix.tally import MixTally
from sciriff.run.progress import Progress

Marks = set[str | bytes]
"""Names of rows and digests of their questions."""

BATCH = 64

RESERVE = 4
"""The pool has this many times the wanted rows, since some turn out to share a document with the mix."""


@dataclass
class Drawn:
    """The validation rows of one half of the mix."""

    pool: list[tuple[str, Conversation]] = field(default_factory=list)
    """(origin, row) of the candidates, until `rows` are taken."""
    rows: list[Conversation] = field(default_factory=list)
    origin: Counter[str] = field(default_factory=Counter)
    """Rows by origin."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Rows that were not taken, by reason."""
    out_of_reach: str | None = None
    """Why a source that only gives validation rows could not be read."""


def question(conversation: Conversation) -> str:
    """The user's first message."""
    return next(message.content for message in conversation.messages if message.role == "user")


def question_digest(conversation: Conversation) -> bytes:
    """Digest (16 bytes) of the question without regard to case, white space and Unicode form. A system message does not
    count, since many rows share one, nor does the answer: a row whose question was trained on measures memory."""
    normal = " ".join(unicodedata.normalize("NFKC", question(conversation)).casefold().split())
    return hashlib.sha256(normal.encode()).digest()[:16]


def marks(conversation: Conversation) -> Marks:
    """Name and question of a row; rows that share one of them are alike."""
    return {conversation.name, question_digest(conversation)}


def noting(conversations: Iterable[Conversation], seen: Marks) -> Iterator[Conversation]:
    """Add the marks of each conversation to `seen` as it passes by."""
    for conversation in conversations:
        seen |= marks(conversation)
        yield conversation


def draw(
    candidates: Candidates, sources: Mapping[str, SourceConfig], spare: Iterable[Sequence[Candidate]], seen: Marks
) -> Drawn:
    """Draw a pool of RESERVE times `mix.validation_rows` rows of the sources of a half, or as many as there are: from
    the `spare` groups in turn, then from the sources' validation splits. They are added to `seen`."""
    drawn = Drawn()
    wanted = RESERVE * candidates.mix.validation_rows
    refusals = candidates.refusals(wanted, set(), candidates.overlapping)

    def take(groups: Iterable[Sequence[Candidate]], origin: str) -> None:
        """Add rows of the groups to the pool until it has `wanted`, without those that are refused or in `seen`."""
        allowed = ([row for row in group if row.dataset not in candidates.held_out] for group in groups)
        order = in_turn(allowed, "validation", candidates.mix.seed)
        start = 0
        while start < len(order) and len(drawn.pool) < wanted:
            batch = order[start : start + min(BATCH, wanted - len(drawn.pool))]
            start += len(batch)
            for row, reason in zip(batch, refusals(batch), strict=True):
                if reason is not None:
                    drawn.left_out[reason] += 1
                elif (of_row := marks(conversation := candidates.spool.read(row))) & seen:
                    drawn.left_out["begins like another row"] += 1
                else:
                    seen.update(of_row)
                    drawn.pool.append((origin, conversation))

    take(spare, "left by the caps")
    for name, source in sources.items():
        if len(drawn.pool) < wanted and (split := validation_split(source)):
            tally = MixTally()
            try:
                rows = list(candidates.read(name, split, tally))
            except MissingSplit:
                continue
            groups = by_task(rows).values() if candidates.mix.kind_of(name) == "science" else [rows]
            drawn.left_out.update(tally.reasons)
            take(groups, "validation split")
    return drawn


def take_from_pools(halves: Iterable[Drawn], wanted: int, mix: Iterator[Conversation], rows_of_mix: int) -> None:
    """Fill the `rows` of each half with `wanted` rows of its pool, without those whose document a row of the mix holds.

    The rows of a dataset show together which text is document; a dataset with less than LEAST_PROMPTS rows in the pools
    is not compared.
    """
    halves = list(halves)
    pool = [row for drawn in halves for _, row in drawn.pool]
    sizes = Counter(row.dataset for row in pool)
    index = OverlapIndex(
        Instance(row.dataset, row.name, question(row), "") for row in pool if sizes[row.dataset] >= LEAST_PROMPTS
    )
    shared: set[str] = set()
    progress, done = Progress(rows_of_mix), 0
    while len(index) and (batch := list(islice(mix, BATCH))):
        shared.update(overlap.instance for overlaps in index.find(batch) for overlap in overlaps)
        done += len(batch)
        progress(done, "rows compared with the validation rows")
    for drawn in halves:
        for origin, row in drawn.pool:
            if len(drawn.rows) == wanted:
                break
            if row.name in shared:
                drawn.left_out["with text of a row of the mix"] += 1
            else:
                drawn.rows.append(row)
                drawn.origin[origin] += 1
        drawn.pool.clear()
