"""Finished runs as a LaTeX table: the columns of summary.tsv with intervals, ready for a paper."""

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, pairwise
from statistics import fmean, stdev

from sciriff.results.comparison import Comparison
from sciriff.results.difference import HIGHER, LOWER, Difference
from sciriff.results.finished_runs import tasks_of
from sciriff.results.scores import ColumnScore
from sciriff.results.seeds import Group
from sciriff.results.shared_documents import documents_lines
from sciriff.run.number_format import count_of, interval, plus_minus, points
from sciriff.run.visible import UNSHOWN, shortened
from sciriff.tasks import NAMES as THE_NINE
from sciriff.tasks.own import columns_of
from sciriff.tasks.task import Task

MEAN = "mean"
STATISTICS = (MEAN, "median")
MISSING = "--"
LONGEST = 1000
"""Characters of a name or a note."""
PLUS_MINUS = r"$\pm$"
NAMES = dict(zip('\\~^<>|"', "backslash asciitilde asciicircum less greater bar quotedbl".split(), strict=True))
SPECIAL = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {c: rf"\text{name}{{}}" for c, name in NAMES.items()})


def latex_table(groups: Sequence[Group], comparisons: Sequence[Comparison]) -> str:
    """Draw a `table*` of runs or sets of seeds in points of 100, the baseline first, with notes as comments at the top.
    `comparisons` of the others with the baseline, in the same order, mark what differs."""
    tasks = tasks_of([run for group in groups for run in group.runs])
    columns = columns_of(tasks)
    general = _general_columns(groups)
    coverages = [_coverage(group, columns) for group in groups]
    counts = set(coverages)
    rows = [
        line
        for group, comparison, covers in zip(groups, [None, *comparisons], coverages, strict=True)
        for line in _rows(group, comparison, columns, covers if len(counts) > 1 else None, [*general])
    ]
    notes = [
        *documents_lines(found for comparison in comparisons for found in comparison.documents),
        *(
            f"{comparison.group.name}: {note}"
            for comparison in comparisons
            for note in (*comparison.notes, *(comparison.general.notes if comparison.general else ()))
        ),
    ]
    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx} and, for the quotation marks of names, \usepackage[T1]{fontenc}",
            *(f"% {_shown(note)}" for note in notes),
            r"\begin{table*}[t]",
            r"\centering",
            rf"\caption{{{_caption(groups, comparisons, tasks)}}}",
            r"\label{tab:sciriff}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(columns) + len(STATISTICS) + len(general))}}}",
            r"\toprule",
            *_heading(tasks, counts, general),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}%",
            "}",
            r"\end{table*}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Escape a name for LaTeX, on one line."""
    return _shown(text).translate(SPECIAL)


def _shown(text: str) -> str:
    """A text on one line. LaTeX has no pictures of control characters, so question marks stand for them."""
    return shortened(UNSHOWN.sub("?", " ".join(text.split())), LONGEST)


def _caption(groups: Sequence[Group], comparisons: Sequence[Comparison], tasks: Sequence[Task]) -> str:
    """Explain the numbers and marks that the table has."""
    runs = [run for group in groups for run in group.runs]
    single = [score for group in groups if len(group.runs) == 1 for score in group.runs[0].scores.values()]
    own = "".join(f" and {escaped(task.name)}" for task in tasks if task.name not in THE_NINE)
    parts = [f"The nine held-out tasks of SciRIFF{own}, 0 to 100"]
    if any("ci95" in score for score in single):
        parts.append(r"in brackets: 95\,\% intervals over instances")
    several = {"seeds": len(runs) > len(groups), "samples": any("sd_over_samples" in score for score in single)}
    if over := [name for name, found in several.items() if found]:
        which = ", of one run over its samples" if len(over) > 1 else ""
        parts.append(rf"$\pm$: standard deviation over {over[0]}{which}")
    if comparisons:
        parts.append(
            rf"$^{{*}}$: differs from {escaped(groups[0].name)} "
            r"(paired permutation test, $p < 0.05$, columns after Holm's correction)"
        )
    if judges := sorted({judge for run in runs for judge in run.judges.values() if judge}):
        parts.append(f"lm\\_judge: rated by {' and '.join(map(escaped, judges))}")
    names = set(_general_columns(groups))
    if not all(run.scores.keys() >= set(columns_of(tasks)) and run.general_scores.keys() >= names for run in runs):
        parts.append(f"{MISSING}: not computed, and left out of mean and median")
    if all(run.parity == "reference" for run in runs):
        parts.append("scored by the rules of the original code")
    settings = [run.general.settings for run in runs if run.general]
    if settings:
        protocols = " and ".join(dict.fromkeys(f"{s.name}, lm-eval {s.lm_eval}" for s in settings))
        parts.append(f"on the right: general tasks ({escaped(protocols)}), which the mean on the left leaves out")
    return "; ".join(parts) + "."


def _general_columns(groups: Sequence[Group]) -> dict[str, str]:
    """General tasks of the runs, in their order, and `mean` -> the heading below their name; empty without any."""
    runs = [run.general for group in groups for run in group.runs if run.general]
    metrics: dict[str, dict[str, None]] = {}
    for general in runs:
        for name, task in general.settings.tasks.items():
            metrics.setdefault(name, {})[task.metric.partition(",")[0]] = None
    if not metrics:
        return {}
    return {name: " / ".join(found) for name, found in metrics.items()} | {MEAN: ""}


def _heading(tasks: Sequence[Task], counts: set[str], general: Mapping[str, str]) -> list[str]:
    """Draw a row of tasks and one of metrics, with the columns that the means cover if all cover as many."""
    edges = accumulate((len(task.headline) for task in tasks), initial=0)
    cells = [rf"\multicolumn{{{len(task.headline)}}}{{c}}{{{escaped(task.short_name)}}}" for task in tasks]
    rules = [rf"\cmidrule(lr){{{first + 2}-{last + 1}}}" for first, last in pairwise(edges)]
    covers = f"of {next(iter(counts))}" if len(counts) == 1 else ""
    metrics = [escaped(name) for task in tasks for name in task.headline]
    names = [escaped(name if name != MEAN else f"general {MEAN}") for name in general]
    return [
        _row(["", *cells, *STATISTICS, *names]),
        " ".join(rules),
        _row(["", *metrics, *[covers] * len(STATISTICS), *map(escaped, general.values())]),
    ]


def _rows(
    group: Group, comparison: Comparison | None, columns: Sequence[str], covers: str | None, general: Sequence[str]
) -> list[str]:
    """Draw a row of values and, if there are any, one of intervals below. `covers` is what the mean covers, if it
    differs from that of other rows; `general` the general tasks and their mean."""
    differing = _differing(comparison.columns, comparison.mean) if comparison else set()
    of_general = comparison.general if comparison else None
    general_differing = _differing(of_general.tasks, of_general.mean) if of_general else set()
    name = escaped(group.name)
    if covers is not None:
        name += f" {_small(f'(mean of {covers})')}"
    science = [_score(column, [run.scores for run in group.runs], differing) for column in (*columns, *STATISTICS)]
    beside = [_score(task, [run.general_scores for run in group.runs], general_differing) for task in general]
    if beside and (count := _general_coverage(group, general)):
        beside[-1] = (f"{beside[-1][0]} {_small(f'(of {count})')}", beside[-1][1])
    values, intervals = zip(*science, *beside, strict=True)
    lines = [_row([name, *values])]
    return [*lines, _row(["", *intervals])] if any(intervals) else lines


def _differing(columns: Sequence[Difference], mean: Difference | None) -> set[str]:
    """Names of the columns that differ from the baseline's, and MEAN if the mean does."""
    rows = [*((row.name, row) for row in columns), *([(MEAN, mean)] if mean else [])]
    return {name for name, row in rows if row.verdict in (HIGHER, LOWER)}


def _score(column: str, runs: Sequence[Mapping[str, ColumnScore]], differing: Collection[str]) -> tuple[str, str]:
    """Value of a column in one run or several seeds, with a star if it is among the `differing`, and its interval."""
    scores = [scores[column] for scores in runs if column in scores]
    if len(scores) < len(runs):
        return MISSING, ""
    limits = scores[0].get("ci95") if len(scores) == 1 else None
    mark = "$^{*}$" if column in differing else ""
    return _value(scores) + mark, _small(interval(limits)) if limits else ""


def _general_coverage(group: Group, general: Sequence[str]) -> str:
    """Coverage of a group's mean of general tasks; empty if it has all or none."""
    counts = [len(run.general_scores.keys() & set(general[:-1])) for run in group.runs]
    return count_of(counts, len(general) - 1) if max(counts) and min(counts) < len(general) - 1 else ""


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _value(scores: Sequence[ColumnScore]) -> str:
    values = [score["value"] for score in scores]
    sd = stdev(values) if len(values) > 1 else scores[0].get("sd_over_samples")
    mean = points(fmean(values), digits=1)
    return mean if sd is None else f"{mean} {_small(plus_minus(sd, digits=1).replace('±', PLUS_MINUS))}"


def _small(text: str) -> str:
    return rf"{{\scriptsize {text}}}"


def _coverage(group: Group, columns: Sequence[str]) -> str:
    """Coverage of a group's mean: `9 of 11`, or `8 to 9 of 11` if its seeds differ."""
    return count_of([sum(column in run.scores for column in columns) for run in group.runs], len(columns))
