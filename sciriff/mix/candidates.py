"""Read sources into the spool as candidates for the recipe, and measure which of them fit the context window."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sciriff.config import MixConfig, SourceConfig
from sciriff.mix.recipe import Candidate, text_digest
from sciriff.mix.science_filter import ScienceFilter
from sciriff.mix.sources import SCIENCE, read_conversations
from sciriff.mix.spool import Spool
from sciriff.mix.tally import Tally
from sciriff.progress import Progress
from sciriff.records import Conversation
from sciriff.tasks import HELD_OUT

WINDOW_MARGIN = 20
"""Tokens of mix.context_window that a row leaves free."""

HELD_OUT_DATASETS = frozenset(f"{SCIENCE}.{task.name}" for task in HELD_OUT)

Fitting = Callable[[Iterable[Conversation], int, str], list[int | None]]
"""How many of its last messages each conversation must lose to fit into so many tokens, under mix.truncate; None where
it cannot fit. By the model's tokenizer and markup (Tokeniser.fitting)."""

Fits = Callable[[Sequence[Candidate]], list[bool]]
"""Whether each row is short enough, or has been shortened in the spool so that it is."""


@dataclass(frozen=True)
class Candidates:
    """The rows of one mix's sources that the recipe may choose from."""

    mix: MixConfig
    spool: Spool
    fitting: Fitting
    filter: ScienceFilter

    def read(self, name: str, source: SourceConfig, tally: Tally) -> Iterator[Candidate]:
        """The rows of `sciriff` or `tulu` that may enter, each put into the spool."""
        science = name == "sciriff"
        rows = read_conversations(name, source, self.mix.on_bad_row, tally, self.filter if science else None)
        for row in rows:
            if science and row.dataset in HELD_OUT_DATASETS and not self.mix.include_heldout:
                tally.drop("of a held-out task", f"{row.dataset}/{row.id}", name, row.dataset)
            elif not science and row.dataset.startswith(SCIENCE):  # they overlap the held-out tasks
                tally.drop("a science row of the general source", f"{row.dataset}/{row.id}", name, row.dataset)
            else:
                yield self.spool.add(row)

    def fits(self, expected: int, seen: set[bytes]) -> Fits:
        """A function that says of rows whether they fit mix.context_window, and shows how many of `expected` did.

        A row that mix.truncate=turns shortens does not fit if its text is in `seen`, to which it is added.
        """
        if self.mix.context_window is None:
            return lambda rows: [True] * len(rows)
        limit = self.mix.context_window - WINDOW_MARGIN
        progress = Progress(expected)
        found = 0

        def fits(rows: Sequence[Candidate]) -> list[bool]:
            nonlocal found
            answers = []
            conversations = map(self.spool.read, rows)
            for row, surplus in zip(rows, self.fitting(conversations, limit, self.mix.truncate), strict=True):
                fit = surplus is not None
                if surplus:
                    self.spool.shorten(row, surplus)
                    text = text_digest(self.spool.read(row).messages)
                    fit = text not in seen
                    seen.add(text)
                answers.append(fit)
            found += sum(answers)
            progress(found, "rows chosen that fit mix.context_window")
            return answers

        return fits
