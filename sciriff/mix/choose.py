"""Choose the rows of a mix from its sources, from each by the rule that the config gives it."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from sciriff.config import SourceConfig
from sciriff.data.hub_rows import OutOfReach
from sciriff.mix import recipe, shares
from sciriff.mix.candidates import SCIENCE_ROW, Candidates
from sciriff.mix.near_duplicates import near_rows
from sciriff.mix.recipe import BATCH, Candidate
from sciriff.mix.tally import MixTally
from sciriff.mix.used_sources import wanted_sources
from sciriff.run.user_error import UserError

SAME_TEXT = "the same text as another row"
NEARLY_SAME = "nearly the same text as another row"
OVER_TASK = "over mix.per_task"
FAR = 0.01
"""How far off a share of tokens may be, as a part of it, without a word."""


@dataclass
class Choice:
    """The rows that the recipe takes from one source."""

    rows: int = 0
    """Chosen rows, each counted once."""
    times: list[tuple[int, Candidate]] = field(default_factory=list)
    """(pass, row) for every occurrence in the mix."""
    spare: list[list[Candidate]] = field(default_factory=list)
    """Usable rows that are not in the mix, by task; a general source has a single group."""
    out_of_reach: str | None = None
    """Why a source that only gives validation rows could not be read."""


def choose(candidates: Candidates, used: Mapping[str, SourceConfig], tally: MixTally) -> dict[str, Choice]:
    """Choose rows from each source. A hub dataset that only gives validation rows may be out of reach."""
    return _Choosing(candidates, used, tally).choices()


@dataclass
class _Walk:
    """Rows of a source, its tasks in turn, as far as they were looked at."""

    kept: list[Candidate] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    """Tokens of each kept row, where tokens are counted."""
    refused: dict[str, list[Candidate]] = field(default_factory=dict)
    over_task: list[Candidate] = field(default_factory=list)
    rest: list[Candidate] = field(default_factory=list)
    """Rows that were not looked at."""


class _Choosing:
    def __init__(self, candidates: Candidates, used: Mapping[str, SourceConfig], tally: MixTally) -> None:
        self.candidates, self.mix, self.tally = candidates, candidates.mix, tally
        self.used = used
        self.wanted = wanted_sources(self.mix)
        self.seen: set[bytes] = set()
        self.chosen: dict[str, Choice] = {}
        self.read: dict[str, list[Candidate]] = {}
        """Rows of the sources that have not chosen yet, in the order in which a cap takes them."""
        self.near: set[int] = set()
        """Places of rows that are nearly the same as another."""

    def choices(self) -> dict[str, Choice]:
        self._read_all()
        if self.mix.near_duplicates == "drop":
            self._find_near_duplicates()
        shared = {name: self.mix.source(name).share for name in self.read if self._is_shared(name)}
        for name in list(self.read):
            if name not in shared:
                self.chosen[name] = self._fixed(name)
        if self.mix.tokens is not None:
            self._share_tokens(shared, self.mix.tokens)
        elif shared:
            self._share_rows(shared)
        elif self.mix.rows is not None:
            raise UserError(f"mix.rows={self.mix.rows} leaves nothing to share: {self._all_fixed()}")
        for name in self.mix.own_sources:
            if not self.chosen[name].times:
                raise UserError(self._gives_nothing(name))
        return {name: self.chosen[name] for name in self.used}

    def _read_all(self) -> None:
        for name, source in self.used.items():
            try:
                rows = self.candidates.read(name, source, self.tally)
                take = self.mix.take if self.mix.kind_of(name) == "science" else "sample"
                self.read[name] = recipe.ranked(rows, take, self.mix.seed)
            except OutOfReach as error:
                if name in self.wanted:
                    raise
                self.chosen[name] = Choice(out_of_reach=str(error))
        if any(self.mix.kind_of(name) == "science" for name in self.read):
            self.candidates.filter.check_names()

    def _find_near_duplicates(self) -> None:
        """Find the rows that are nearly the same as one of an earlier source, or before them in the order of a cap."""
        seen: set[bytes] = set()
        rows = [row for name, of_source in self.read.items() if name in self.wanted for row in of_source]
        rows, _ = recipe.without_duplicates(rows, seen)
        spool = self.candidates.spool
        found = near_rows([row.dataset for row in rows], lambda numbers: (spool.read(rows[n]) for n in numbers))
        self.near = {rows[number].place for number in found.like}
        self.tally.near_duplicates = found.card(lambda number: rows[number].name, left_out=True)

    def _is_shared(self, name: str) -> bool:
        """Whether a weight, and no number of its own, says how much of a source enters."""
        if not self.mix.by_shares or name not in self.wanted or self.mix.source(name).rows is not None:
            return False
        return name != "tulu" or self.mix.tulu == "match"

    def _groups(self, name: str) -> list[list[Candidate]]:
        """The rows of a source, those of a text that was seen before left out, by task, in the order of a cap."""
        rows, again = recipe.without_duplicates(self.read.pop(name), self.seen)
        self._drop(name, SAME_TEXT, again)
        if self.near:
            self._drop(name, NEARLY_SAME, [row for row in rows if row.place in self.near])
            rows = [row for row in rows if row.place not in self.near]
        return list(recipe.by_task(rows).values()) if self.mix.kind_of(name) == "science" else [rows]

    def _fixed(self, name: str) -> Choice:
        """Choose by `rows`, mix.per_task or mix.tulu."""
        mix, tally = self.mix, self.tally
        if (rows := mix.source(name).rows) is not None:
            asked = tally.ask(name, mix.kind_of(name), f"{rows:,} rows", rows=rows)
            return self._numbered(name, self._walk(name, None, rows=rows), rows, asked.short)
        epochs = mix.source(name).epochs
        repeats = "" if epochs == 1 else f", epochs={epochs:g}"
        if mix.kind_of(name) == "science":
            caps = f"at most {mix.per_task:,} rows of each task" if mix.per_task else "none"
            tally.ask(name, "science", ("all rows" if mix.per_task is None else caps) + repeats)
            return self._capped(name, mix.per_task, OVER_TASK)
        if name != "tulu":
            tally.ask(name, "general", f"all rows{repeats}")
            return self._capped(name, None, "")
        science = [name for name in self.chosen if mix.kind_of(name) == "science" and name in self.wanted]
        science_rows = sum(self.chosen[name].rows for name in science)
        if mix.tulu == "match" and not science and mix.own_sources and name in self.wanted:
            raise UserError(
                "mix.tulu=match takes as many rows of tulu as there are science rows, and no source is of "
                "kind=science; give mix.tulu=all or a number, or a weight to each source"
            )
        cap = recipe.general_rows(mix.tulu, science_rows, mix.source("tulu").share / mix.source("sciriff").share)
        words = {0: "none", "match": "as many as science rows", None: "all rows"}
        tally.ask(name, "general", words.get(mix.tulu if cap else cap, f"{cap} rows") + repeats, rows=cap)
        choice = self._capped(name, cap, "over mix.tulu")
        if cap is not None:
            tally.general_missing = cap - choice.rows
        return choice

    def _capped(self, name: str, cap: int | None, over: str) -> Choice:
        """Choose the first rows of each group that can enter, at most `cap` of them, over the source's epochs."""
        groups = self._groups(name)
        refusals = self._refusals(sum(len(rows) if cap is None else min(cap, len(rows)) for rows in groups))
        epochs = self.mix.source(name).epochs
        choice = Choice()
        for rows in groups:
            selection = recipe.capped(rows, cap, refusals)
            times = recipe.over_epochs(selection.kept, epochs)
            unused = selection.kept[len(times) :]  # of less than one epoch
            for reason, left_out in selection.refused.items():
                self._drop(name, reason, left_out)
            self._drop(name, over, selection.over)
            self._drop(name, f"over mix.sources.{name}.epochs", unused)
            choice.rows += len(selection.kept)
            choice.times += times
            choice.spare.append(unused + selection.over)
        self._count_repeated(name, choice)
        return choice

    def _share_rows(self, weights: Mapping[str, float]) -> None:
        """Choose shares of rows: of mix.rows, else as many as the scarcest source has."""
        mix = self.mix
        if mix.rows is not None:
            total = mix.rows - sum(len(choice.times) for choice in self.chosen.values())
            if total < len(weights):
                raise UserError(
                    f"mix.rows={mix.rows} leaves {max(total, 0):,} rows for {', '.join(weights)}: {self._all_fixed()}"
                )
            asked = shares.row_shares(weights, total)
            walks = {name: self._walk(name, mix.per_task, rows=asked[name]) for name in weights}
        else:
            walks = {name: self._walk(name, mix.per_task) for name in weights}
            there = {name: shares.capacity(len(walk.kept), mix.source(name).epochs) for name, walk in walks.items()}
            for name in weights:
                if not there[name]:
                    self._forget(name, walks[name])
                    raise UserError(self._gives_nothing(name))
            asked = shares.largest_shares(weights, there)
        parts = shares.token_shares(weights, 1)
        for name, walk in walks.items():
            ask = self.tally.ask(name, mix.kind_of(name), f"{parts[name]:.1%} of the rows", rows=asked[name])
            self.chosen[name] = self._numbered(name, walk, asked[name], ask.short, over=f"over the share of {name}")

    def _share_tokens(self, weights: Mapping[str, float], total: float) -> None:
        """Choose shares of mix.tokens, less those of the sources that say their own number."""
        fixed = sum(sum(self.candidates.lengths_of(row for _, row in choice.times)) for choice in self.chosen.values())
        if total <= fixed or not weights:
            left = f"mix.tokens={total:.0f} leaves {max(total - fixed, 0):,.0f} tokens for"
            raise UserError(f"{left} {', '.join(weights) or 'no source'}: {self._all_fixed()}")
        parts = shares.token_shares(weights, 1)
        for name, part in parts.items():
            asked = round((total - fixed) * part)
            ask = self.tally.ask(name, self.mix.kind_of(name), f"{part:.1%} of the tokens", tokens=asked)
            walk = self._walk(name, self.mix.per_task, tokens=asked)
            self.chosen[name] = self._measured(name, walk, asked, ask.short)

    def _all_fixed(self) -> str:
        fixed = [f"{name} {len(choice.times):,}" for name, choice in self.chosen.items() if choice.times]
        return (
            f"rows of sources with a number of their own come first ({', '.join(fixed)})"
            if fixed
            else "no source is without a number of its own"
        )

    def _enough(self, name: str, rows: int | None, tokens: int | None) -> Callable[[_Walk], bool]:
        if tokens is None or self.mix.source(name).epochs < 1:
            return lambda walk: rows is not None and len(walk.kept) >= rows
        seen, found, over = 0, 0, 0

        def enough(walk: _Walk) -> bool:
            nonlocal seen, found, over
            for length in walk.lengths[seen:]:
                found += length
                over += found > tokens
            seen = len(walk.lengths)
            return over > shares.TRIED

        return enough

    def _walk(self, name: str, per_task: int | None, *, rows: int | None = None, tokens: int | None = None) -> _Walk:
        """Look at the rows of a source, its tasks in turn, at most `per_task` rows of each, until `rows` can enter, or
        rows with `tokens` tokens and some more that may fill the rest. Of less than one epoch, look at all."""
        if self.mix.source(name).epochs < 1:
            rows = None
        enough = self._enough(name, rows, tokens)
        groups = self._groups(name)
        if self.mix.kind_of(name) != "science":
            per_task = None
        order = recipe.one_of_each(groups, self.mix.seed)
        refusals = self._refusals(len(order))
        walk, taken, start = _Walk(), Counter[str](), 0
        while start < len(order) and not enough(walk):
            batch: list[Candidate] = []
            waiting = Counter[str]()
            most = BATCH if rows is None else min(BATCH, rows - len(walk.kept))
            while start < len(order) and len(batch) < most:
                row = order[start]
                if per_task is not None and taken[row.dataset] >= per_task:
                    walk.over_task.append(row)
                elif per_task is not None and taken[row.dataset] + waiting[row.dataset] >= per_task:
                    break  # which depends on rows of this batch
                else:
                    batch.append(row)
                    waiting[row.dataset] += 1
                start += 1
            for row, reason in zip(batch, refusals(batch), strict=True):
                if reason is None:
                    walk.kept.append(row)
                    taken[row.dataset] += 1
                else:
                    walk.refused.setdefault(reason, []).append(row)
            if tokens is not None:
                walk.lengths += self.candidates.lengths_of(walk.kept[len(walk.lengths) :])
        walk.rest = order[start:]
        return walk

    def _numbered(self, name: str, walk: _Walk, rows: int, short: list[str], over: str | None = None) -> Choice:
        """Choose a number of the rows, the first ones, again if there are too few and epochs allow it."""
        times: list[tuple[int, Candidate]] = []
        for number, most in enumerate(shares.passes(len(walk.kept), self.mix.source(name).epochs)):
            times += [(number, row) for row in walk.kept[: min(most, rows - len(times))]]
            if len(times) == rows:
                break
        if len(times) < rows:
            short.append(self._too_few(name, walk, len(times), rows, rows / max(len(walk.kept), 1), "rows"))
        return self._finished(name, walk, times, over or f"over mix.sources.{name}.rows")

    def _measured(self, name: str, walk: _Walk, tokens: int, short: list[str]) -> Choice:
        """Choose rows with a number of tokens, again if there are too few and epochs allow it."""
        times: list[tuple[int, Candidate]] = []
        left = tokens
        for number, most in enumerate(shares.passes(len(walk.kept), self.mix.source(name).epochs)):
            places = shares.within(walk.lengths[:most], left)
            times += [(number, walk.kept[place]) for place in places]
            left -= sum(walk.lengths[place] for place in places)
            if len(places) < most:
                break
        else:
            there = sum(walk.lengths)
            if there and left > FAR * tokens:
                short.append(self._too_few(name, walk, tokens - left, tokens, tokens / there, "tokens"))
        if abs(left) > FAR * tokens and times and not short:
            short.append(f"{name} has {tokens - left:,} of the {tokens:,} tokens asked for: no rows of it come nearer")
        if walk.kept and not times and not short:
            raise UserError(
                f"mix.tokens={self.mix.tokens:.0f} gives mix.sources.{name} {tokens:,} tokens, fewer than its shortest "
                f"row has ({min(walk.lengths):,}): give more, or another weight"
            )
        return self._finished(name, walk, times, f"over the share of {name}")

    def _finished(self, name: str, walk: _Walk, times: list[tuple[int, Candidate]], over: str) -> Choice:
        chosen = {row.place for _, row in times}
        unused = [row for row in walk.kept if row.place not in chosen]
        for reason, rows in walk.refused.items():
            self._drop(name, reason, rows)
        self._drop(name, OVER_TASK, walk.over_task)
        self._drop(name, over, [*unused, *walk.rest])
        spare = recipe.by_task([*unused, *walk.rest, *walk.over_task])
        groups = list(spare.values()) if self.mix.kind_of(name) == "science" else [list(chain(*spare.values()))]
        choice = Choice(len(chosen), times, groups)
        self._count_repeated(name, choice)
        return choice

    def _forget(self, name: str, walk: _Walk) -> None:
        self._finished(name, walk, [], f"over the share of {name}")

    def _too_few(self, name: str, walk: _Walk, got: int, asked: int, epochs: float, what: str) -> str:
        ways = [f"++mix.sources.{name}.epochs={math.ceil(epochs * 100) / 100:g} repeats its rows"]
        if walk.over_task:
            ways.append(f"mix.per_task=null lets {len(walk.over_task):,} more in")
        return f"{name} has {got:,} of the {asked:,} {what} asked for: {', or '.join(ways)}"

    def _gives_nothing(self, name: str) -> str:
        reasons = self.tally.dropped_by_source.get(name, Counter())
        said = "; ".join(f"{rows:,} {reason}" for reason, rows in reasons.items())
        ways = {
            OVER_TASK: f"mix.per_task=null lets them in, or ++mix.sources.{name}.rows=N some of them",
            SCIENCE_ROW: f"++mix.sources.{name}.kind=science lets them in",
            SAME_TEXT: "another source has them all",
        }
        way = next((f"; {way}" for reason, way in ways.items() if reason in reasons), "")
        return (
            f"mix.sources.{name} gives no row: {self.tally.read[name]:,} were read, and left out: {said or 'none'}{way}"
        )

    def _refusals(self, expected: int) -> Callable[[Sequence[Candidate]], list[str | None]]:
        drops = self.candidates.overlapping if self.mix.overlap == "drop" else None
        return self.candidates.refusals(expected, self.seen, drops)

    def _drop(self, name: str, reason: str, rows: Sequence[Candidate]) -> None:
        for row in rows:
            self.tally.drop(reason, row.name, name, row.dataset)

    def _count_repeated(self, name: str, choice: Choice) -> None:
        if repeated := sum(number > 0 for number, _ in choice.times):
            self.tally.repeated[name] = repeated
