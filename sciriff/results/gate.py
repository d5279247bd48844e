"""Rules that runs must keep, so that a script can stop where a score fell: `mean<-1`, `scierc_ner/f1 lower`.

A rule names what may not happen to a run beside the baseline: a difference below or above a number of points of 100, or
a verdict beyond noise. A rule that cannot be checked counts as broken.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sciriff.config import nearest
from sciriff.results.comparison import Comparison
from sciriff.results.difference import Difference
from sciriff.results.finished_runs import FinishedRun, tasks_of
from sciriff.results.seeds import Group
from sciriff.run.number_format import p_value, points, signed_points
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line
from sciriff.tasks.own import columns_of

MEAN, ANY = "mean", "any"
GENERAL = "general/"
"""Prefix of the names of general tasks; their mean is `general/mean`, and `general/any` is each of them."""
RULE = re.compile(
    r"\s*(?P<what>[^<>\s]+)(?:\s*(?P<sign>[<>])\s*(?P<limit>[+-]?(?:\d+(?:\.\d*)?|\.\d+))|\s+(?P<verdict>lower|higher))\s*"
)
GRAMMAR = f"write COLUMN<-1, COLUMN>1, COLUMN lower or COLUMN higher, or {MEAN} or {ANY} for COLUMN"
DIGITS = 9
"""Decimals of a difference in points that are compared, so that one of exactly -1 is not below -1."""
LONGEST = 80
"""Characters of a rule that a message shows."""
SHOWN = 3
"""Breaks of one rule that are named; the others are counted."""


@dataclass(frozen=True)
class Rule:
    text: str
    what: str
    """A column, `mean` or `any`; with GENERAL before it, the same of the general tasks."""
    below: float | None = None
    above: float | None = None
    """Points of 100."""
    verdict: str | None = None
    """`lower` or `higher`: beyond noise, after Holm's correction for a column."""

    def broken_by(self, row: Difference) -> bool:
        change = round(100 * row.difference, DIGITS)
        if self.below is not None:
            return change < self.below
        return change > self.above if self.above is not None else row.verdict == self.verdict


@dataclass(frozen=True)
class Broken:
    """A rule that a run breaks, or that cannot be checked for it."""

    rule: Rule
    run: str
    reason: str
    difference: Difference | None = None
    """None where it cannot be checked."""


def read_rule(text: str) -> Rule:
    """Parse a rule. UserError for another form."""
    found = RULE.fullmatch(text)
    if found is None:
        raise UserError(f"--fail-if {visible_line(shortened(text, LONGEST))!r} is no rule; {GRAMMAR}")
    limit = float(found["limit"]) if found["sign"] else None
    below, above = (limit if found["sign"] == sign else None for sign in "<>")
    return Rule(text.strip(), found["what"], below, above, found["verdict"])


def check_names(rules: Sequence[Rule], groups: Sequence[Group]) -> None:
    """UserError for a rule about something that none of the runs could have."""
    runs = [run for group in groups for run in group.runs]
    general = {name for run in runs for name in run.general_scores if name != MEAN}
    known = [*columns_of(tasks_of(runs)), MEAN, ANY]
    known += [f"{GENERAL}{name}" for name in (*sorted(general), MEAN, ANY)] if general else []
    for rule in rules:
        if rule.what not in known:
            shown = visible_line(shortened(rule.what, LONGEST))
            of_none = rule.what.startswith(GENERAL) and not general
            why = ", none of which has general tasks" if of_none else nearest(rule.what, known)
            raise UserError(f"--fail-if: {shown!r} is no column of these runs{why}")


def broken(rules: Sequence[Rule], baseline: Group, comparisons: Sequence[Comparison]) -> list[Broken]:
    """What breaks the rules, rule by rule."""
    return [
        found
        for rule in rules
        for comparison in comparisons
        for found in (
            _general(rule, baseline, comparison)
            if rule.what.startswith(GENERAL)
            else _held_out(rule, baseline, comparison)
        )
    ]


def _held_out(rule: Rule, baseline: Group, comparison: Comparison) -> Iterator[Broken]:
    runs = [*baseline.runs, *comparison.group.runs]
    due = [_columns(run) for run in runs]
    yield from _found(rule, comparison.group.name, comparison.columns, comparison.mean, runs, due, rule.what)


def _general(rule: Rule, baseline: Group, comparison: Comparison) -> Iterator[Broken]:
    runs = [*baseline.runs, *comparison.group.runs]
    found = comparison.general
    due = [[name for name in run.general_scores if name != MEAN] for run in runs]
    rows, mean = (found.tasks, found.mean) if found else ([], None)
    yield from _found(rule, comparison.group.name, rows, mean, runs, due, rule.what.removeprefix(GENERAL))


def _found(
    rule: Rule,
    name: str,
    rows: Sequence[Difference],
    mean: Difference | None,
    runs: Sequence[FinishedRun],
    due: Sequence[Sequence[str]],
    what: str,
) -> Iterator[Broken]:
    """What breaks one rule in one run. `due`: what each of `runs` was scored for; `mean` and `any` cover all of it."""
    by_name: Mapping[str, Difference] = {row.name: row for row in rows}
    wanted = [what] if what not in (MEAN, ANY) else list(dict.fromkeys(column for columns in due for column in columns))
    lacking = [column for column in wanted if column not in by_name]
    if lacking or not wanted:
        yield Broken(rule, name, _why(lacking, runs, due))
    elif what != MEAN:
        yield from (_broken(rule, name, by_name[column]) for column in wanted if rule.broken_by(by_name[column]))
    elif rule.broken_by(row := mean or rows[0]):  # the mean of a single column is that column
        yield _broken(rule, name, row)


def _broken(rule: Rule, name: str, row: Difference) -> Broken:
    p = f"p {p_value(row.p)}" if row.p_holm is None else f"p after Holm {p_value(row.p_holm)}"
    values = f"{points(row.baseline.mean)} to {points(row.value.mean)}"
    return Broken(rule, name, f"{row.name} {signed_points(row.difference)} ({values}, n {row.n}, {p})", row)


def _why(lacking: Sequence[str], runs: Sequence[FinishedRun], due: Sequence[Sequence[str]]) -> str:
    if not lacking:
        return "cannot be checked: there is nothing of the kind in these runs"
    without = [run.name for run, columns in zip(runs, due, strict=True) if lacking[0] not in columns]
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    be = "are" if more else "is"
    return f"cannot be checked: {lacking[0]}{more} " + (
        f"{be} not in {without[0]}" if without else "cannot be compared"
    )


def _columns(run: FinishedRun) -> list[str]:
    return [name for name in run.scores if name not in (MEAN, "median")]


def sentence(found: Sequence[Broken]) -> str:
    """One line that names every broken rule with its numbers, of each at most SHOWN breaks."""
    by_rule: dict[Rule, list[Broken]] = {}
    for one in found:
        by_rule.setdefault(one.rule, []).append(one)
    return visible_line("; ".join(f"{rule.text!r}: {_breaks(breaks)}" for rule, breaks in by_rule.items()))


def _breaks(found: Sequence[Broken]) -> str:
    named = "; ".join(
        f"{run}: {', '.join(one.reason for one in of_run)}"
        for run, of_run in groupby(found[:SHOWN], key=lambda one: one.run)
    )
    return f"{named} and {len(found) - SHOWN} more" if len(found) > SHOWN else named
