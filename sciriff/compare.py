"""Set finished runs beside each other: differences, what they are worth, and which are within noise.

`python -m sciriff.compare RUN RUN ...` takes folders of runs, folders that hold runs, names in runs/ and patterns of
any of these. The first run is the baseline. docs/statistics.md says what each number means.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from sciriff.data.marks import LONGEST_NAME
from sciriff.report.sweep import sweep_page
from sciriff.report.sweep.sweep_page import UNREADABLE, LeftOut
from sciriff.results.agreement import RIGHT_FROM, Agreement, NotUsed, agreements, read_persons
from sciriff.results.comparison import Comparison, compare
from sciriff.results.difference import NOISE, SEED_ERRORS, SEED_NOISE, Difference
from sciriff.results.finished_runs import find_runs, read_run, read_runs, with_own_names
from sciriff.results.gate import Broken, Rule, broken, check_names, read_rule, sentence
from sciriff.results.general_comparison import (
    CHANGED,
    GeneralComparison,
    GeneralDifference,
    pooled_general,
)
from sciriff.results.latex_table import latex_table
from sciriff.results.seeds import Group, Value, pool_seeds, pooled
from sciriff.results.shared_documents import documents_lines
from sciriff.results.statistics import ALPHA, POWER, RESAMPLES
from sciriff.results.terminal_table import table_lines
from sciriff.run.arguments import ArgumentParser
from sciriff.run.messages import say, show
from sciriff.run.number_format import interval, p_value, plus_minus, points, signed_points
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line
from sciriff.run.whole_file import write_whole
from sciriff.stage import command

HEADER = ("column", "n", "baseline", "run", "difference", "95 % interval", "p", "Holm", "detectable", "")
GENERAL_HEADER = ("general task", *HEADER[1:-1], "lost", "won", "")
SEED_HEADER = ("column", "n", "score")
MARKS_HEADER = ("task", "one", "other", "n", "agree", "kappa", "both right", "one alone", "other alone", "both wrong")
UNKNOWN = "-"
SHOWN = 3
"""Unfinished runs, and answers with marks that no longer fit, that are named; the rest are counted."""
GATE_FAILED = 3
"""Exit status where a run breaks a rule of --fail-if, or a rule cannot be checked."""


@command
def main() -> int:
    parser = ArgumentParser(prog="python -m sciriff.compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run, a folder of runs, or a pattern in runs/")
    parser.add_argument("--baseline", metavar="RUN", help="what the others are compared with (the first run)")
    parser.add_argument("--each", action="store_true", help="do not pool the seeds of one configuration")
    samples = f"random changes of sign for p, and bootstrap samples of general tasks ({RESAMPLES})"
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help=samples)
    for option, what in (
        ("--json", "the numbers; scores are 0-1"),
        ("--latex", "a LaTeX table of the scores; one run is enough"),
        ("--html", "a page of the runs: drawings, tables, cost, configs, answers side by side"),
    ):
        parser.add_argument(option, type=Path, metavar="FILE", help=f"write {what}")
    rule = "end with status 3 if a run does this beside the baseline, as 'mean<-1' or 'scierc_ner/f1 lower'; repeatable"
    parser.add_argument("--fail-if", action="append", default=[], metavar="RULE", help=rule)
    saved = "marks that a person saved in a page, compared with scores and with other FILEs; repeatable"
    parser.add_argument("--marks", action="append", type=Path, default=[], metavar="FILE", help=saved)
    right = f"score from which an answer is right beside marks, in points ({100 * RIGHT_FROM:g})"
    parser.add_argument("--right-from", type=float, default=100 * RIGHT_FROM, metavar="N", help=right)
    arguments = parser.parse_args()
    rules = [read_rule(text) for text in arguments.fail_if]
    if arguments.resamples < 100:
        raise UserError(f"--resamples {arguments.resamples} is too few for a p-value; give 100 or more")
    if not 0 < arguments.right_from <= 100:
        raise UserError(f"--right-from {arguments.right_from:g} must be above 0 and at most 100")
    persons = read_persons(arguments.marks)
    least = 1 if (arguments.latex or arguments.html or persons) and not rules else 2
    (baseline, *others), left_out = read_groups(arguments.runs, arguments.baseline, arguments.each, least)
    check_rules(rules, baseline, others)
    comparisons = [compare(baseline, group, arguments.resamples) for group in others]
    failed = broken(rules, baseline, comparisons)
    text = lines(baseline, comparisons) if comparisons else seed_lines(baseline)
    more: dict[str, Any] = {"broken_rules": [_broken_json(one) for one in failed]} if rules else {}
    if persons:
        runs = [run for group in (baseline, *others) for run in group.runs]
        agreed, not_used = agreements(runs, persons, arguments.right_from / 100)
        text += ["", *marks_lines(agreed, not_used, arguments.right_from)]
        more["marks"] = _marks_json(agreed, not_used, arguments.right_from / 100)
    if arguments.json:
        write_json(arguments.json, baseline, comparisons, arguments.resamples, more)
    if arguments.latex:
        write_whole(arguments.latex, latex_table([baseline, *others], comparisons))
        text = [*text, "", f"LaTeX: {arguments.latex}"]
    if arguments.html:
        groups, title = [baseline, *others], page_title(baseline, others)
        marks = [mark for of_person in persons.values() for mark in of_person]
        page = sweep_page.render(
            title, groups, arguments.resamples, compared=comparisons, left_out=left_out, marks=marks
        )
        write_whole(arguments.html, page.decode())
        text = [*text, "", f"page: {arguments.html}"]
    show(*text)
    return gate_status(rules, failed, left_out)


def page_title(baseline: Group, others: Sequence[Group]) -> str:
    """What a page compares: `after against before`, `3 runs against before`."""
    if not others:
        return baseline.name
    runs = sum(len(group.runs) for group in others)
    return f"{others[0].name if len(others) == 1 else f'{runs} runs'} against {baseline.name}"


def check_rules(rules: Sequence[Rule], baseline: Group, others: Sequence[Group]) -> None:
    """UserError, before anything is computed, for a rule about an unknown column or with nothing to compare."""
    if rules and not others:
        raise UserError(
            f"--fail-if compares runs with a baseline, and {baseline.name} stands alone; name another run, or --each"
        )
    check_names(rules, [baseline, *others])


def gate_status(rules: Sequence[Rule], failed: Sequence[Broken], left_out: Sequence[LeftOut]) -> int:
    """The exit status under some rules, which one line explains. A run that was left out was not checked."""
    if not rules:
        return 0
    reasons = [*([sentence(failed)] if failed else []), *(f"{row.name} was not checked" for row in left_out)]
    if reasons:
        say(f"--fail-if: {'; '.join(reasons)}")
        return GATE_FAILED
    show(f"--fail-if: {len(rules)} {'rules hold' if len(rules) > 1 else 'rule holds'}")
    return 0


def read_groups(
    wanted: Sequence[str], baseline: str | None, each: bool, least: int = 2
) -> tuple[list[Group], list[LeftOut]]:
    """The runs, baseline first, with seeds pooled unless `each`, and those left out, which are named on standard error.
    UserError where there are fewer runs than `least`, or where `baseline` cannot be read or names several runs that are
    not seeds of one configuration."""
    first, passed_first = find_runs([baseline]) if baseline is not None else ([], [])
    found, passed = find_runs(wanted)
    unfinished = list(dict.fromkeys(map(str, [*passed_first, *passed])))
    if unfinished:
        more = f" and {len(unfinished) - SHOWN} more" if len(unfinished) > SHOWN else ""
        say(f"left out, without scores yet: {', '.join(unfinished[:SHOWN])}{more}")
    known = {folder.resolve() for folder in first}
    others, unreadable = read_runs([folder for folder in found if folder.resolve() not in known])
    runs = with_own_names([*map(read_run, first), *others])
    if unreadable and len(runs) < least:
        raise UserError(next(iter(unreadable.values())))
    for reason in unreadable.values():
        say(f"left out, {reason}")
    groups = [Group((run,)) for run in runs] if each else pool_seeds(runs)
    if len(first) > len(groups[0].runs):
        raise UserError(f"--baseline {baseline} names {len(first)} runs; name one, or the seeds of one configuration")
    if len(runs) < least:
        raise UserError(
            f"there is only one run here, {runs[0].folder}; name another, "
            "or --latex FILE for its table, --html FILE for its page, --marks FILE for what a person thinks of it"
        )
    return groups, [
        *(LeftOut(str(folder), reason, UNREADABLE) for folder, reason in unreadable.items()),
        *(LeftOut(folder, "without scores yet", "unfinished") for folder in unfinished),
    ]


def lines(baseline: Group, comparisons: Sequence[Comparison]) -> list[str]:
    """The table for people, in points of 100, with a block for each run and notes."""
    drawn_rows = [row for comparison in comparisons for row in _rows(comparison)]
    cells = [_cells(row) for row in drawn_rows]
    header, *drawn = table_lines(HEADER, cells, right=HEADER[1:-1])
    text = [f"baseline: {baseline.name}; scores and differences in points of 100", "", header]
    left = iter(drawn)
    for comparison in comparisons:
        text += [comparison.group.name, *islice(left, len(_rows(comparison))), *comparison.notes, ""]
    text += documents_lines(found for comparison in comparisons for found in comparison.documents)
    rows = [row for comparison in comparisons for row in comparison.columns]
    noise = sum(row.verdict in (NOISE, SEED_NOISE) for row in rows)
    text.append(f"within noise (p after Holm's correction is {ALPHA} or more): {noise} of {len(rows)} differences")
    general = [comparison.general for comparison in comparisons if comparison.general is not None]
    drawn_general = [row for found in general for row in _general_rows(found)]
    if any(row.verdict == SEED_NOISE for row in (*drawn_rows, *drawn_general)):
        text.append(f"{SEED_NOISE}: at most {SEED_ERRORS:.0f} standard errors over the seeds, whatever p is")
    shows = f"shows with {POWER:.0%} power at {ALPHA:.0%}, before Holm's correction"
    text.append(f"detectable: the smallest true difference that {shows}")
    text += ["", *general_lines(comparisons)] if general else []
    return [visible_line(line) for line in text]


def general_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """The table of the general tasks, with a block for each run that has some, and notes."""
    compared = [(row.group.name, row.general) for row in comparisons if row.general is not None]
    cells = [_general_cells(row) for _, general in compared for row in _general_rows(general)]
    header, *drawn = table_lines(GENERAL_HEADER, cells, right=GENERAL_HEADER[1:-1])
    left, text = iter(drawn), [header] if drawn else ["no general task could be compared"]
    for name, general in compared:
        text += [name, *islice(left, len(_general_rows(general))), *general.notes, ""]
    rows = [row for _, general in compared for row in general.tasks]
    if not rows:
        return text[:-1]
    noise = sum(row.verdict in (NOISE, SEED_NOISE) for row in rows)
    return [
        *text,
        f"within noise: {noise} of {len(rows)} differences of general tasks",
        f"lost and won: documents whose value fell or rose by {CHANGED:g} or more, as from right to wrong",
    ]


def seed_lines(group: Group) -> list[str]:
    """The table of one run, or of the seeds of one configuration: means and standard deviations."""
    columns, notes, documents = pooled(group)
    rows = [(row.name, str(row.n), _value(row.value)) for row in columns]
    what = ": mean ± standard deviation (--each compares them)" if len(group.runs) > 1 else ""
    text = [f"{group.name}{what}", "", *table_lines(SEED_HEADER, rows, right=SEED_HEADER[1:]), *notes]
    text += documents_lines(documents)
    if (general := pooled_general(group)) is not None:
        rows = [
            (row.name, str(row.n), _value(row.value))
            for row in (*general.tasks, *([general.mean] if general.mean else []))
        ]
        header = (GENERAL_HEADER[0], *SEED_HEADER[1:])
        text += ["", *table_lines(header, rows, right=header[1:]), *general.notes]
    return [visible_line(line) for line in text]


def marks_lines(agreed: Sequence[Agreement], not_used: Sequence[NotUsed], right_from: float) -> list[str]:
    """The table of how persons and scores agree, with a block for each run, and the marks that were not used."""
    cells = [
        (
            *(row.task, row.first, row.second, f"{row.n:,}", f"{row.agreement:.1%}"),
            UNKNOWN if row.kappa is None else f"{row.kappa:.2f}",
            *(f"{count:,}" for count in (row.both_right, row.first_alone, row.second_alone, row.both_wrong)),
        )
        for row in agreed
    ]
    header, *drawn = table_lines(MARKS_HEADER, cells, right=MARKS_HEADER[3:])
    text, left = [header] if drawn else ["no mark is of an answer of these runs"], iter(drawn)
    for run, rows in groupby(agreed, key=lambda row: row.run):
        text += [run, *islice(left, len(list(rows)))]
    if drawn:
        judged = f"of a judge's ratings those from {1 + 4 * right_from / 100:g}"
        text += ["", f"right: what a person marked so, and scores from {right_from:g} (--right-from), {judged}"]
    if any(row.kappa is None for row in agreed):
        text.append(f"kappa {UNKNOWN}: not defined, for both find all answers right, or all wrong")
    for marks in not_used:
        text += [f"{marks.person}: {reason}" for reason in _reasons(marks)]
    return [visible_line(line) for line in text]


def _reasons(marks: NotUsed) -> list[str]:
    """Why marks of a person were not used, each with its number."""
    reasons = [f"{marks.unclear:,} marks are `unclear` and left out"] if marks.unclear else []
    if marks.changed:
        more = f" and {len(marks.changed) - SHOWN:,} more" if len(marks.changed) > SHOWN else ""
        shown = "; ".join(shortened(name, LONGEST_NAME) for name in marks.changed[:SHOWN])
        reasons.append(f"{len(marks.changed):,} marks are of answers that are others now, or gone: {shown}{more}")
    for counts, why in ((marks.elsewhere, "whose answers are not in its folder"), (marks.unknown, "that is not here")):
        reasons += [f"{n:,} marks are of the run {shortened(run, LONGEST_NAME)}, {why}" for run, n in counts.items()]
    return reasons


def _rows(comparison: Comparison) -> list[Difference]:
    return [*comparison.columns, *([comparison.mean] if comparison.mean else [])]


def _cells(row: Difference) -> tuple[str, ...]:
    """One line of the table, in the order of HEADER."""
    return (
        row.name,
        str(row.n),
        _value(row.baseline),
        _value(row.value),
        signed_points(row.difference),
        interval(row.ci95, digits=2, signed=True) if row.ci95 else UNKNOWN,
        p_value(row.p),
        UNKNOWN if row.p_holm is None else p_value(row.p_holm),
        UNKNOWN if row.detectable is None else points(row.detectable),
        row.verdict,
    )


def _general_rows(general: GeneralComparison) -> list[GeneralDifference | Difference]:
    return [*general.tasks, *([general.mean] if general.mean else [])]


def _general_cells(row: GeneralDifference | Difference) -> tuple[str, ...]:
    """One line of the table of general tasks, in the order of GENERAL_HEADER."""
    *cells, verdict = _cells(row)
    changed = (f"{len(row.lost):,}", f"{len(row.won):,}") if isinstance(row, GeneralDifference) else (UNKNOWN, UNKNOWN)
    return (*cells, *changed, verdict)


def _value(value: Value) -> str:
    """`53.10`, over seeds `53.10 ± 1.25`, over samples of each answer `53.10 (samples ± 0.80)`."""
    seeds = f" {plus_minus(value.sd)}" if value.sd is not None else ""
    samples = f" (samples {plus_minus(value.sd_over_samples)})" if value.sd_over_samples is not None else ""
    return f"{points(value.mean)}{seeds}{samples}"


def write_json(
    path: Path,
    baseline: Group,
    comparisons: Sequence[Comparison],
    resamples: int,
    more: Mapping[str, Any],
) -> None:
    """Write all numbers (0-1), unrounded, and `more`. Seeds that nothing is compared with have their columns in
    `baseline`."""
    values = {
        "baseline": {**_group(baseline), **({} if comparisons else _alone(baseline, resamples))},
        "alpha": ALPHA,
        "power": POWER,
        "resamples": resamples,
        "comparisons": [
            {
                **_group(comparison.group),
                "columns": {row.name: _json(row) for row in comparison.columns},
                "mean": _json(comparison.mean) if comparison.mean else None,
                "notes": [*comparison.notes, *documents_lines(comparison.documents)],
                "general": _general_json(comparison.general) if comparison.general else None,
            }
            for comparison in comparisons
        ],
        **more,
    }
    write_whole(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def _alone(group: Group, resamples: int) -> dict[str, Any]:
    """Numbers of one run, or of the seeds of one configuration, that nothing is compared with."""
    general = pooled_general(group, resamples)
    return {
        "columns": {row.name: asdict(row) for row in pooled(group, resamples)[0]},
        "general": asdict(general) if general else None,
    }


def _general_json(general: GeneralComparison) -> dict[str, Any]:
    """Numbers of the general tasks; documents that were lost and won are counted."""
    return {
        "tasks": {row.name: {**_json(row), "lost": len(row.lost), "won": len(row.won)} for row in general.tasks},
        "mean": _json(general.mean) if general.mean else None,
        "notes": general.notes,
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "runs": [{"name": run.name, "folder": str(run.folder), "seed": run.seed} for run in group.runs],
    }


def _broken_json(found: Broken) -> dict[str, Any]:
    """A rule that was broken or could not be checked, and why."""
    column = found.difference.name if found.difference else None
    return {"rule": found.rule.text, "run": found.run, "column": column, "reason": found.reason}


def _marks_json(agreed: Sequence[Agreement], not_used: Sequence[NotUsed], right_from: float) -> dict[str, Any]:
    """The agreement of persons and scores; `right_from` is a score (0-1)."""
    rows = [{**asdict(row), "n": row.n, "agreement": row.agreement, "kappa": row.kappa} for row in agreed]
    return {"right_from": right_from, "agreement": rows, "not_used": [vars(marks) for marks in not_used]}


def _json(row: Difference) -> dict[str, Any]:
    return {**asdict(row), "difference": row.difference, "verdict": row.verdict}


if __name__ == "__main__":
    sys.exit(main())
