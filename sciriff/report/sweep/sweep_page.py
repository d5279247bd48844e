"""Gather what the page of several runs shows, and fill its template."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.data.marks import Mark
from sciriff.report import figures, page, template
from sciriff.report.browser import Browser, browser
from sciriff.report.figures import Figure
from sciriff.report.packing import packed
from sciriff.report.run_scores import difference, points, verdict_kind, verdict_sign
from sciriff.report.run_scores import titles as titles_of
from sciriff.report.side_by_side import MOST_RUNS, ShownRun, read_shown
from sciriff.report.sweep import drawings
from sciriff.report.sweep.configs import (
    SEED,
    AblationLine,
    caps_of,
    first_parents,
    flat_config,
    lines_of,
    merge_lines,
    varying,
)
from sciriff.report.sweep.drawings import Point, Series
from sciriff.report.sweep.groups import SweepRow, rows_of
from sciriff.report.sweep.trade_off import trade_off
from sciriff.results.comparison import Comparison
from sciriff.results.difference import HIGHER, LOWER, Difference
from sciriff.results.finished_runs import tasks_of
from sciriff.results.scores import ColumnScore
from sciriff.results.seeds import Group, Pooled
from sciriff.results.shared_documents import documents_lines
from sciriff.run.number_format import duration, p_value
from sciriff.run.visible import visible

UNREADABLE = "unreadable"
GENERAL = "general mean"
"""Stands for the general mean among the columns of a merge's curve; no column has a blank in its name."""


@dataclass(frozen=True)
class LeftOut:
    """A run, or a job of a sweep, that the table has no row of: why not, in words."""

    name: str
    reason: str
    status: str
    time: str = "–"
    overrides: str = ""


def render(
    title: str,
    groups: Sequence[Group],
    resamples: int,
    *,
    compared: Sequence[Comparison] | None = None,
    left_out: Sequence[LeftOut] = (),
    jobs: tuple[int, int] | None = None,
    marks: Sequence[Mark] = (),
) -> bytes:
    """The page of these groups, the baseline first. `jobs`: finished and all jobs of a sweep, or None, for which the
    page shows the answers, too. `marks`: marks of answers that the page begins with."""
    rows = rows_of(groups, resamples, compared)
    here = Path(__file__).parent
    functions: template.Functions = {
        "points": points,
        "limits": _limits,
        "difference": difference,
        "p": p_value,
        "sign": verdict_sign,  # its words stand beside it
        "kind": verdict_kind,
        "duration": duration,
        "strip": figures.strip,
        "swatch": drawings.swatch,
        "score": _mean_score,
    }
    return template.filled(
        here / "sweep.html.jinja",
        [page.HERE / "page.css", here / "sweep.css"],
        [page.HERE / "page.js", *(page.HERE / name for name in page.BROWSER_SCRIPTS), here / "sweep.js"],
        functions,
        content(title, rows, left_out, jobs, _browser(rows, marks) if jobs is None else None),
    )


def content(
    title: str,
    rows: list[SweepRow],
    left_out: Sequence[LeftOut],
    jobs: tuple[int, int] | None,
    answers: Browser | None,
) -> dict[str, Any]:
    """What the template shows, by the names that it uses."""
    every = titles_of(tasks_of([run for row in rows for run in row.group.runs]))
    titles = {column: text for column, text in every.items() if any(column in row.columns for row in rows)}
    trained = {place: row.config for place, row in enumerate(rows) if row.trained}
    lines = lines_of(trained)
    merges = [] if lines else merge_lines(trained)
    lines = lines or merges
    lines = lines if len(lines) <= drawings.STYLES else []  # more could not be told apart
    named = first_parents(trained[place] for line in merges for _, place in line.points)
    first = named[0] if len(named) == 1 else "the first model"
    baseline = not merges or not rows[0].trained  # a run on the curve is no rule across it
    seeds = [", ".join(str(run.seed) for run in row.group.runs) for row in rows]
    return {
        "title": title,
        "sentence": _sentence(rows, jobs),
        "rows": rows,
        "columns": titles,
        "trade_off": trade_off(rows, lines),
        "general": list(dict.fromkeys(task.name for row in rows if row.general for task in row.general.tasks)),
        "parts": [*([packed("configs", _configs(rows))] if rows else []), *(answers.parts if answers else [])],
        "browser": answers,
        "legend": [
            *((style, line.label) for style, line in enumerate(lines)),
            *([(None, "baseline")] if baseline else []),
        ],
        "ablation": _curves(rows, lines, {"": "Mean"} | titles, first if merges else None, baseline) if lines else [],
        "merged": first if merges and lines else None,
        "varied": varying([row.config | {SEED: seed} for row, seed in zip(rows, seeds, strict=True) if row.trained]),
        "costs": _costs(rows, lines) if rows else [],
        "gpus": any(row.cost.gpu_hours is not None for row in rows),
        "notes": [(row, note) for row in rows for note in row.notes],
        "documents": documents_lines(found for row in rows for found in row.documents),
        "left_out": left_out,
        "of_sweep": jobs is not None,
    }


def _browser(rows: Sequence[SweepRow], marks: Sequence[Mark]) -> Browser | None:
    """The answers of the first run of each of the first groups."""
    texts: dict[str, str] = {}
    shown: list[ShownRun] = []
    notes = []
    for row in rows:
        run = row.group.runs[0]
        if len(shown) == MOST_RUNS:
            notes.append(f"{row.group.name}: its answers are not shown, as {MOST_RUNS} runs are here.")
            continue
        found, reasons = read_shown(run, texts)
        notes += reasons
        if found.tasks:
            shown.append(found)
            if len(row.group.runs) > 1:
                notes.append(f"{row.group.name}: the answers are those of {run.name}.")
    return browser(shown, first_is_new=False, notes=notes, marks=marks)


def _sentence(rows: list[SweepRow], jobs: tuple[int, int] | None) -> str:
    finished = "" if jobs is None else f"{jobs[0]} of {jobs[1]} jobs are finished. "
    if not rows:
        return f"{finished}No run has scores yet."
    runs = sum(len(row.group.runs) for row in rows)
    many = f"{runs} run{'s'[: runs > 1]}" + (f" of {len(rows)} configurations" if len(rows) < runs else "")
    best = max(rows, key=lambda row: row.mean.value.mean)
    text = f"{finished}{many}. The highest mean is {points(best.mean.value.mean)}, of {best.group.name}"
    if best.difference is None:
        return text + (", the baseline." if best.baseline and len(rows) > 1 else ".")
    verdict = best.difference.verdict
    worth = "more than noise" if verdict in (HIGHER, LOWER) else verdict
    return f"{text}: {difference(best.difference.difference)} over {rows[0].group.name}, {worth}."


def _curves(
    rows: list[SweepRow], lines: list[AblationLine], titles: dict[str, str], first: str | None, baseline: bool
) -> list[Figure]:
    """Each column of `titles` (the mean is "") over the caps of the mix, or over the share of the model `first` that
    was merged, and then the general mean, too. With `baseline` each has a rule at the first row's score."""
    caps = [] if first is not None else caps_of(lines)
    drawn = []
    general = {GENERAL: "General mean"} if first is not None and any(row.general_mean for row in rows) else {}
    for place, (column, title) in enumerate({"": titles[""], **general, **titles}.items()):
        series = []
        for style, line in enumerate(lines):
            marks = [
                _point(rows[row], column, caps.index(at), f"{at} per task")
                if first is None
                else _point(rows[row], column, 100 * float(at), f"{100 * float(at):.3g} % of {first}")
                for at, row in line.points
                if _has(rows[row], column)
            ]
            series.append(Series(line.label, style, marks))
        rule = _point(rows[0], column) if baseline and _has(rows[0], column) else None
        key = f"ablation-{place}"
        if first is None:
            drawn.append(drawings.ablation(key, title, caps, series, rule))
        else:
            drawn.append(drawings.merge_curve(key, title, first, series, rule))
    return [figure for figure in drawn if figure is not None]


def _has(row: SweepRow, column: str) -> bool:
    return not column or column in row.columns or (column == GENERAL and row.general_mean is not None)


def _point(row: SweepRow, column: str = "", x: float = 0.0, name: str = "", tag: str = "") -> Point:
    """A run's mean, a column of it, or its general mean."""
    pooled = row.columns.get(column, row.mean)
    if column == GENERAL and row.general_mean is not None:
        pooled = row.general_mean
    limits = (100 * pooled.ci95[0], 100 * pooled.ci95[1]) if pooled.ci95 else None
    return Point(100 * pooled.value.mean, limits, x, name, tag)


def _mean_score(row: SweepRow) -> ColumnScore:
    score: ColumnScore = {"value": row.mean.value.mean}
    return score | {"ci95": row.mean.ci95} if row.mean.ci95 else score


def _costs(rows: list[SweepRow], lines: list[AblationLine]) -> list[Figure]:
    """The mean against GPU time, or time where no machine had a GPU, and against training tokens."""
    styles = {row: (style, line.label) for style, line in enumerate(lines) for _, row in line.points}
    drawn = []
    for key, unit, costs in (("time", *_times(rows)), ("tokens", "training tokens", [row.cost.tokens for row in rows])):
        series = []
        for place, (row, cost) in enumerate(zip(rows, costs, strict=True)):
            if cost is not None and row.trained:
                style, label = styles.get(place, (0, row.group.name))
                point = _point(row, x=cost, name=f"run {row.number}", tag=str(row.number))
                series.append(Series(label, style, [point], joined=False))
        title = unit[:1].upper() + unit[1:]
        drawn.append(drawings.cost_against_score(f"cost-{key}", title, unit, series, _point(rows[0])))
    return [figure for figure in drawn if figure is not None]


def _times(rows: list[SweepRow]) -> tuple[str, list[float | None]]:
    """The unit that suits all runs, and the time of each in it."""
    by_gpu = any(row.cost.gpu_hours is not None for row in rows)
    hours = [row.cost.gpu_hours if by_gpu else row.cost.hours for row in rows]
    whole = max((time for time in hours if time is not None), default=0.0) >= 1
    unit = ("GPU " if by_gpu else "") + ("hours" if whole else "minutes")
    return unit, [time if time is None or whole else 60 * time for time in hours]


def _configs(rows: list[SweepRow]) -> list[dict[str, Any]]:
    """What the page's script compares: each run's name and config."""
    found = []
    for run in (run for row in rows for run in row.group.runs):
        config = sorted(flat_config(run.folder).items())
        found.append({"name": visible(run.name), "config": {visible(key): visible(value) for key, value in config}})
    return found


def _limits(found: Pooled | Difference | None) -> str:
    """`41.0–51.2`, of differences `−1.2 to +0.4`; empty if it is not known."""
    if found is None or found.ci95 is None:
        return ""
    low, high = found.ci95
    return f"{points(low)}–{points(high)}" if isinstance(found, Pooled) else f"{difference(low)} to {difference(high)}"
