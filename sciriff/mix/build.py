"""Build a mix: read the sources, choose rows by the recipe, write them in their order.

The text of the rows is kept on disk, in a spool beside the result; memory holds some hundred bytes per row of the
sources: its name, digest and place.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from sciriff.config import MixConfig, SourceConfig
from sciriff.data.hub_rows import OutOfReach
from sciriff.data.records import Conversation
from sciriff.mix import recipe
from sciriff.mix.candidates import OVERLAP, Candidates, Fitting, Overlapping, datasets_of
from sciriff.mix.recipe import BATCH, Candidate, text_digest
from sciriff.mix.science_filter import ScienceFilter
from sciriff.mix.sources import read_conversations
from sciriff.mix.spool import Spool
from sciriff.mix.tally import MixTally
from sciriff.mix.validation import Drawn, Marks, draw, noting, take_from_pools
from sciriff.run.json_lines import read_jsonl, write_jsonl
from sciriff.run.user_error import UserError
from sciriff.tasks import HELD_OUT
from sciriff.tasks.own import names_of
from sciriff.tasks.task import Task

TRAIN, VALIDATION = "train.jsonl", "validation.jsonl"


@dataclass
class Choice:
    """The rows that the recipe takes from one source."""

    rows: int = 0
    """Chosen rows, each counted once."""
    times: list[tuple[int, Candidate]] = field(default_factory=list)
    """(pass, row) for every occurrence in the mix."""
    spare: list[list[Candidate]] = field(default_factory=list)
    """Usable rows that are not in the mix, by task; the general source has a single group."""
    out_of_reach: str | None = None
    """Why a source that only gives validation rows could not be read."""


def used_sources(mix: MixConfig) -> dict[str, SourceConfig]:
    """The sources that this mix reads, by name. UserError if one that it needs is not configured."""
    if mix.path is not None:
        return {"path": SourceConfig(path=mix.path)}
    sources = mix.sources
    if sources["published"].exists:
        if sources["sciriff"].exists or sources["tulu"].exists:
            raise UserError(
                "mix.sources.published is a finished mix and is taken whole; leave out mix.sources.sciriff and "
                "mix.sources.tulu, or mix.sources.published"
            )
        return {"published": sources["published"]}
    used: dict[str, SourceConfig] = {}
    if mix.per_task != 0:
        if not sources["sciriff"].exists:
            raise UserError("there are no science rows: give mix.sources.sciriff.path=FOLDER, or mix.per_task=0")
        used["sciriff"] = sources["sciriff"]
    if mix.tulu not in ("none", 0):
        if not sources["tulu"].exists:
            problem = f"there are no general rows for mix.tulu={mix.tulu}"
            raise UserError(f"{problem}: give mix.sources.tulu.path=FILE, or mix.tulu=none")
        used["tulu"] = sources["tulu"]
    if mix.validation_rows:
        watched = {"sciriff": sources["sciriff"], "tulu": sources["tulu"]}
        used |= {name: source for name, source in watched.items() if source.exists}
    return used


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
) -> tuple[MixTally, dict[str, Drawn]]:
    """Write `train.jsonl` and, if mix.validation_rows finds any, `validation.jsonl` (of Conversation) into a folder.

    Rows for which `overlapping` is true are no validation rows, and mix.overlap=drop leaves them out of the mix, a
    finished one too. With `may_refuse` the markup may have no form for a row, and `fitting` says so. Returns counts,
    and the validation rows of each half, `science` and `general`. UserError if a source cannot be read, a row is bad,
    or no row is left.
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
            )
            choices = _choose(candidates, used, tally)
            order = recipe.shuffled((time for choice in choices.values() for time in choice.times), mix.seed)
            tally.shortened = sum(map(spool.is_short, order))
            rows = map(spool.read, order)
            seen: Marks = set()
            write_jsonl(folder / TRAIN, noting(rows, seen) if mix.validation_rows else rows)
            if mix.validation_rows:
                for name, choice in choices.items():
                    half = {"sciriff": "science", "tulu": "general"}[name]
                    if choice.out_of_reach is None:
                        drawn[half] = draw(candidates, name, used[name], choice.spare, seen)
                    else:
                        drawn[half] = Drawn(out_of_reach=choice.out_of_reach)
                rows = read_jsonl(folder / TRAIN, Conversation)
                take_from_pools(drawn.values(), mix.validation_rows, rows, len(order))
    if not tally.kept:
        raise UserError(f"the mix is empty: {sum(tally.read.values())} rows were read and all left out {tally.reasons}")
    if validation := [row for half in drawn.values() for row in half.rows]:
        write_jsonl(folder / VALIDATION, validation)
    return tally, drawn


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


def _choose(candidates: Candidates, used: dict[str, SourceConfig], tally: MixTally) -> dict[str, Choice]:
    """Choose rows from each source. A hub dataset that only gives validation rows may be out of reach."""
    mix = candidates.mix
    seen: set[bytes] = set()
    choices: dict[str, Choice] = {}
    only_watched = {"sciriff": mix.per_task == 0, "tulu": mix.tulu in ("none", 0)}
    read: dict[str, list[Candidate]] = {}
    for name, source in used.items():
        try:
            read[name] = list(candidates.read(name, source, tally))
        except OutOfReach as error:
            if not only_watched[name]:
                raise
            choices[name] = Choice(out_of_reach=str(error))
    if "sciriff" in read:
        rows = recipe.ranked(read.pop("sciriff"), mix.take, mix.seed)
        candidates.filter.check_names()
        tasks = list(recipe.by_task(_unique("sciriff", rows, seen, tally)).values())
        choices["sciriff"] = _capped("sciriff", tasks, mix.per_task, candidates, seen, tally)
    if "tulu" in read:
        rows = _unique("tulu", recipe.ranked(read.pop("tulu"), "sample", mix.seed), seen, tally)
        science_rows = choices["sciriff"].rows if "sciriff" in choices else 0
        cap = recipe.general_rows(mix.tulu, science_rows, mix.source("tulu").share / mix.source("sciriff").share)
        choices["tulu"] = _capped("tulu", [rows], cap, candidates, seen, tally)
        if cap is not None:
            tally.general_missing = cap - choices["tulu"].rows
    return choices


def _unique(name: str, rows: list[Candidate], seen: set[bytes], tally: MixTally) -> list[Candidate]:
    first, again = recipe.without_duplicates(rows, seen)
    for row in again:
        tally.drop("the same text as another row", row.name, name, row.dataset)
    return first


def _capped(
    name: str, groups: list[list[Candidate]], cap: int | None, candidates: Candidates, seen: set[bytes], tally: MixTally
) -> Choice:
    """Choose the first rows of each group that can enter, at most `cap` of them, over the source's epochs."""
    over = {"sciriff": "over mix.per_task", "tulu": "over mix.tulu"}[name]
    expected = sum(len(rows) if cap is None else min(cap, len(rows)) for rows in groups)
    refusals = candidates.refusals(expected, seen, candidates.overlapping if candidates.mix.overlap == "drop" else None)
    choice = Choice()
    for rows in groups:
        selection = recipe.capped(rows, cap, refusals)
        times = recipe.over_epochs(selection.kept, candidates.mix.source(name).epochs)
        unused = selection.kept[len(times) :]  # of less than one epoch
        dropped = {**selection.refused, over: selection.over, f"over mix.sources.{name}.epochs": unused}
        for reason, left_out in dropped.items():
            for row in left_out:
                tally.drop(reason, row.name, name, row.dataset)
        choice.rows += len(selection.kept)
        choice.times += times
        choice.spare.append(unused + selection.over)
    if repeated := sum(number > 0 for number, _ in choice.times):
        tally.repeated[name] = repeated
    return choice
