"""Read sources into the spool as candidates for the recipe, and measure which of them fit the context window."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sciriff.config import MixConfig, SourceConfig
from sciriff.data.records import Conversation
from sciriff.mix.recipe import Candidate, text_digest
from sciriff.mix.science_filter import ScienceFilter
from sciriff.mix.sources import SCIENCE, read_conversations
from sciriff.mix.spool import Spool
from sciriff.mix.tally import MixTally
from sciriff.run.progress import Progress
from sciriff.tasks.task import Task

WINDOW_MARGIN = 20
"""Tokens of mix.context_window that stay free."""

Fitting = Callable[[Iterable[Conversation], float, str], Sequence[int | str | None]]
"""`Tokeniser.fitting`: (conversations, tokens, mix.truncate) -> last messages each must lose, None if it cannot fit, or
why it cannot be used."""

Lengths = Callable[[Iterable[Conversation]], list[int]]
"""`Tokeniser.lengths`: the tokens of conversations that `Fitting` has let in."""

Overlapping = Callable[[Sequence[Conversation]], list[bool]]
"""Whether each conversation holds text of an evaluation prompt."""

Refusals = Callable[[Sequence[Candidate]], list[str | None]]
"""Why each row cannot enter, or None."""

SCIENCE_ROW = "a science row of the general source"
TOO_LONG = "longer than mix.context_window"
OVERLAP = "with text of an evaluation prompt"


def datasets_of(tasks: Iterable[Task]) -> frozenset[str]:
    """Names that the rows of some tasks have as their dataset."""
    return frozenset(f"{SCIENCE}.{task.name}" for task in tasks)


@dataclass(frozen=True)
class Candidates:
    """The rows of one mix's sources that the recipe may choose from."""

    mix: MixConfig
    spool: Spool
    fitting: Fitting
    filter: ScienceFilter
    held_out: frozenset[str]
    """Datasets of the held-out tasks."""
    overlapping: Overlapping | None = None
    """None if rows are not compared with the evaluation prompts."""
    may_refuse: bool = False
    """Whether the markup may have no form for a row, so that `fitting` looks at each."""
    lengths: Lengths | None = None
    """None if no tokens are counted."""

    def read(self, name: str, source: SourceConfig, tally: MixTally) -> Iterator[Candidate]:
        """Put the rows of a source that may enter into the spool."""
        science = self.mix.kind_of(name) == "science"
        self.spool.begin(name)
        rows = read_conversations(name, source, self.mix.on_bad_row, tally, self.filter if science else None)
        for row in rows:
            if science and row.dataset in self.held_out and not self.mix.include_heldout:
                tally.drop("of a held-out task", row.name, name, row.dataset)
            elif not science and row.dataset.startswith(f"{SCIENCE}."):  # they overlap the held-out tasks
                tally.drop(SCIENCE_ROW, row.name, name, row.dataset)
            else:
                yield self.spool.add(row)

    def refusals(self, expected: int, seen: set[bytes], overlapping: Overlapping | None) -> Refusals:
        """Return a function that checks the text of rows, and shows how many of `expected` can enter.

        A row shortened by mix.truncate=turns cannot enter if its text is in `seen`, to which it is added, and is
        compared as `overlapping` in its short form.
        """
        measures = self.mix.context_window is not None or self.may_refuse or self.mix.tokens is not None
        if not measures and overlapping is None:
            return lambda rows: [None] * len(rows)
        progress = Progress(expected)
        accepted = 0

        def refusals(rows: Sequence[Candidate]) -> list[str | None]:
            nonlocal accepted
            reasons: list[str | None] = [None] * len(rows)
            if measures:
                window = self.mix.context_window
                limit = math.inf if window is None else window - WINDOW_MARGIN
                surpluses = self.fitting(map(self.spool.read, rows), limit, self.mix.truncate)
                for place, (row, surplus) in enumerate(zip(rows, surpluses, strict=True)):
                    if isinstance(surplus, str):
                        reasons[place] = surplus
                    elif surplus is None or (surplus and self._is_seen_when_shorter(row, surplus, seen)):
                        reasons[place] = TOO_LONG
            if overlapping is not None:
                left = [place for place, reason in enumerate(reasons) if reason is None]
                overlaps = overlapping([self.spool.read(rows[place]) for place in left])
                for place, overlap in zip(left, overlaps, strict=True):
                    if overlap:
                        reasons[place] = OVERLAP
            accepted += reasons.count(None)
            progress(accepted, "rows chosen that can enter")
            return reasons

        return refusals

    def lengths_of(self, rows: Iterable[Candidate]) -> list[int]:
        """Tokens of rows that were measured and are not refused."""
        assert self.lengths is not None
        return self.lengths(map(self.spool.read, rows))

    def _is_seen_when_shorter(self, row: Candidate, surplus: int, seen: set[bytes]) -> bool:
        """Cut `surplus` last messages of a row in the spool; return whether its text is in `seen`, and add it there."""
        self.spool.shorten(row, surplus)
        text = text_digest(self.spool.read(row).messages)
        again = text in seen
        seen.add(text)
        return again
