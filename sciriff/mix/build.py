"""Build a mix: read the sources, choose rows by the recipe, write them in their order.

The text of the rows is kept on disk, in a spool beside the result; memory holds some hundred bytes per row of the
sources: its name, digest and place.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from sciriff.config import KINDS, MixConfig, SourceConfig
from sciriff.data.records import Conversation
from sciriff.mix import recipe
from sciriff.mix.candidates import OVERLAP, Candidates, Fitting, Lengths, Overlapping, datasets_of
from sciriff.mix.choose import Choice, choose
from sciriff.mix.recipe import BATCH, text_digest
from sciriff.mix.science_filter import ScienceFilter
from sciriff.mix.sources import read_conversations
from sciriff.mix.spool import Spool
from sciriff.mix.tally import MixTally
from sciriff.mix.used_sources import used_sources
from sciriff.mix.validation import Drawn, Marks, draw, noting, take_from_pools
from sciriff.run.json_lines import read_jsonl, write_jsonl
from sciriff.run.user_error import UserError
from sciriff.tasks import HELD_OUT
from sciriff.tasks.own import names_of
from sciriff.tasks.task import Task

TRAIN, VALIDATION = "train.jsonl", "validation.jsonl"


def is_finished(mix: MixConfig) -> bool:
    """Whether the mix is a finished one, which is taken whole and in its own order."""
    return mix.path is not None or mix.sources["published"].exists


def build_mix(
    mix: MixConfig,
    folder: Path,
    fitting: Fitting,
    overlapping: Overlapping | None = None,
    held_out: Sequence[Task] = HELD_OUT,
    *,
    may_refuse: bool = False,
    lengths: Lengths | None = None,
) -> tuple[MixTally, dict[str, Drawn]]:
    """Write `train.jsonl` and, if mix.validation_rows finds any, `validation.jsonl` (of Conversation) into a folder.

    Rows for which `overlapping` is true are no validation rows, and mix.overlap=drop leaves them out of the mix, a
    finished one too. With `may_refuse` the markup may have no form for a row, and `fitting` says so. `lengths` counts
    the tokens of rows that `fitting` has seen, for mix.tokens. Returns counts, and the validation rows of each half,
    `science` and `general`. UserError if a source cannot be read, a row is bad, or no row is left.
    """
    tally = MixTally()
    drawn: dict[str, Drawn] = {}
    used = used_sources(mix)
    if is_finished(mix):
        for name, source in used.items():
            rows = read_conversations(name, source, mix.on_bad_row, tally)
            if overlapping is not None and mix.overlap == "drop":
                rows = _without(rows, overlapping, name, tally)
            if may_refuse:
                rows = _expressible(rows, fitting, name, tally)
            write_jsonl(folder / TRAIN, _counting_texts(rows, tally))
    else:
        with Spool(folder / "rows.spool") as spool:
            candidates = Candidates(
                mix,
                spool,
                fitting,
                ScienceFilter(mix, names_of(held_out)),
                datasets_of(held_out),
                overlapping,
                may_refuse,
                lengths,
            )
            choices = choose(candidates, used, tally)
            order = recipe.shuffled((time for choice in choices.values() for time in choice.times), mix.seed)
            tally.origins = list(map(spool.origin, order))
            tally.shortened = sum(map(spool.is_short, order))
            rows = map(spool.read, order)
            seen: Marks = set()
            write_jsonl(folder / TRAIN, noting(rows, seen) if mix.validation_rows else rows)
            if mix.validation_rows:
                for half in KINDS:
                    of_half = {name: choice for name, choice in choices.items() if mix.kind_of(name) == half}
                    if of_half:
                        drawn[half] = _drawn_half(candidates, of_half, used, seen)
                rows = read_jsonl(folder / TRAIN, Conversation)
                take_from_pools(drawn.values(), mix.validation_rows, rows, len(order))
    if not tally.kept:
        raise UserError(f"the mix is empty: {sum(tally.read.values())} rows were read and all left out {tally.reasons}")
    if validation := [row for half in drawn.values() for row in half.rows]:
        write_jsonl(folder / VALIDATION, validation)
    return tally, drawn


def _drawn_half(
    candidates: Candidates, choices: Mapping[str, Choice], used: Mapping[str, SourceConfig], seen: Marks
) -> Drawn:
    """Draw validation rows from the sources of a half that are in reach."""
    there = {name: used[name] for name, choice in choices.items() if choice.out_of_reach is None}
    drawn = draw(candidates, there, [group for name in there for group in choices[name].spare], seen)
    drawn.out_of_reach = next((why for choice in choices.values() if (why := choice.out_of_reach) is not None), None)
    return drawn


def _without(
    rows: Iterator[Conversation], overlapping: Overlapping, name: str, tally: MixTally
) -> Iterator[Conversation]:
    """Yield the rows of a finished mix without text of the evaluation prompts."""
    while batch := list(islice(rows, BATCH)):
        for row, overlaps in zip(batch, overlapping(batch), strict=True):
            if overlaps:
                tally.drop(OVERLAP, row.name, name, row.dataset)
            else:
                yield row


def _expressible(rows: Iterator[Conversation], fitting: Fitting, name: str, tally: MixTally) -> Iterator[Conversation]:
    """Yield the rows of a finished mix that the markup can express, each of them whole, however long."""
    while batch := list(islice(rows, BATCH)):
        for row, reason in zip(batch, fitting(batch, math.inf, "drop"), strict=True):
            if isinstance(reason, str):
                tally.drop(reason, row.name, name, row.dataset)
            else:
                yield row


def _counting_texts(rows: Iterator[Conversation], tally: MixTally) -> Iterator[Conversation]:
    seen: set[bytes] = set()
    for row in rows:
        text = text_digest(row.messages)
        tally.same_text += text in seen
        seen.add(text)
        yield row
