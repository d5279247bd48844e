"""Gather what the page of several runs shows, and fill its template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciriff.report import figures, template
from sciriff.report.browser import packed
from sciriff.report.figures import Figure
from sciriff.report.run_scores import COLUMNS, SHORT_NAMES, Column, difference, points
from sciriff.report.sweep import drawings
from sciriff.report.sweep.configs import SEED, AblationLine, caps_of, flat, lines_of, varying
from sciriff.report.sweep.drawings import Point, Rule, Series
from sciriff.report.sweep.groups import SweepRow, rows_of
from sciriff.results.comparison import HIGHER, LOWER, Comparison, Difference
from sciriff.results.finished_runs import read_config
from sciriff.results.scores import ColumnScore
from sciriff.results.seeds import Group, Pooled
from sciriff.results.sweep_record import Job
from sciriff.run.number_format import duration, p_value
from sciriff.run.run_dir import RunDir
from sciriff.run.visible import visible

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class LeftOut:
    """A run, or a job of a sweep, that the table has no row of: why not, in words."""

    name: str
    reason: str
    status: str
    time: str = "–"
    overrides: str = ""

    @classmethod
    def of_job(cls, job: Job, reason: str) -> "LeftOut":
        return cls(job.name, reason, job.status, duration(job.seconds) if job.seconds else "–", job.overrides)


def render(
    title: str,
    groups: Sequence[Group],
    resamples: int,
    *,
    compared: Sequence[Comparison] | None = None,
    left_out: Sequence[LeftOut] = (),
    jobs: tuple[int, int] | None = None,
) -> bytes:
    """The page of these groups, the baseline first. `jobs` is how many of how many of a sweep are finished, None
    outside of one."""
    rows = rows_of(groups, resamples, compared)
    here, report = Path(__file__).parent, Path(figures.__file__).parent
    functions: dict[str, Callable[..., Any]] = {
        "points": points,
        "limits": _limits,
        "difference": difference,
        "p": p_value,
        "sign": _sign,
        "kind": _kind,
        "duration": duration,
        "strip": figures.strip,
        "swatch": drawings.swatch,
        "rule_swatch": drawings.rule_swatch,
        "score": _mean_score,
    }
    return template.filled(
        here / "sweep.html.jinja",
        [report / "page.css", here / "sweep.css"],
        [report / "page.js", here / "sweep.js"],
        functions,
        content(title, rows, left_out, jobs),
    )


def content(
    title: str, rows: list[SweepRow], left_out: Sequence[LeftOut], jobs: tuple[int, int] | None
) -> dict[str, Any]:
    """What the template shows, by the names that it uses."""
    shown = [column for column in COLUMNS if any(column.key in row.columns for row in rows)]
    lines = _lines(rows)
    return {
        "title": title,
        "sentence": _sentence(rows, jobs),
        "rows": rows,
        "columns": shown,
        "short_names": SHORT_NAMES,
        "parts": [packed("configs", _configs(rows))] if rows else [],
        "legend": [(style, line.label) for style, line in enumerate(lines)],
        "ablation": _ablation(rows, lines, shown),
        "varied": varying([_with_seeds(row) for row in rows if row.trained]),
        "costs": _costs(rows, lines) if rows else [],
        "gpus": any(row.cost.gpu_hours is not None for row in rows),
        "notes": [(row, note) for row in rows for note in row.notes],
        "left_out": left_out,
        "of_sweep": jobs is not None,
    }


def _with_seeds(row: SweepRow) -> dict[str, str]:
    return row.config | {SEED: ", ".join(str(run.seed) for run in row.group.runs)}


def _sentence(rows: list[SweepRow], jobs: tuple[int, int] | None) -> str:
    runs = sum(len(row.group.runs) for row in rows)
    parts = []
    if jobs is not None:
        parts.append(f"{jobs[0]} of {jobs[1]} jobs are finished.")
    if not rows:
        return " ".join([*parts, "No run has scores yet."])
    best = max(rows, key=lambda row: row.mean.value.mean)
    many = f"{runs} run{'s'[: runs > 1]}" + (f" of {len(rows)} configurations" if len(rows) < runs else "")
    parts.append(f"{many}. The highest mean is {points(best.mean.value.mean)}, of {best.group.name}")
    if (found := best.difference) is None:
        return " ".join([*parts[:-1], parts[-1] + (", the baseline." if best.baseline and len(rows) > 1 else ".")])
    parts[-1] += f": {difference(found.difference)} over {rows[0].group.name}, {_in_words(found)}."
    return " ".join(parts)


def _in_words(found: Difference) -> str:
    return found.verdict if found.verdict not in (HIGHER, LOWER) else "more than noise"


def _lines(rows: list[SweepRow]) -> list[AblationLine]:
    """The lines of the ablation; none where the runs make no lines, or more than can be told apart."""
    found = lines_of({place: row.config for place, row in enumerate(rows) if row.trained})
    return found if len(found) <= drawings.STYLES else []


def _ablation(rows: list[SweepRow], lines: list[AblationLine], columns: list[Column]) -> list[Figure]:
    """The mean and each column over the caps of the mix."""
    if not lines:
        return []
    caps = caps_of([row.config for row in rows if row.trained])
    titles = {"": "Mean"} | {column.key: f"{SHORT_NAMES[column.task]} {column.metric}" for column in columns}
    drawn = []
    for place, (column, title) in enumerate(titles.items()):
        series = [
            Series(
                line.label,
                style,
                [
                    _point(rows[row], column, caps.index(cap), f"{cap} per task", "")
                    for cap, row in line.points
                    if not column or column in rows[row].columns
                ],
            )
            for style, line in enumerate(lines)
        ]
        drawn.append(drawings.ablation(f"ablation-{place}", title, caps, series, _rule(rows[0], column)))
    return [figure for figure in drawn if figure is not None]


def _point(row: SweepRow, column: str, x: float, name: str, tag: str) -> Point:
    """A run's mean, or a column of it."""
    found = row.columns[column] if column else row.mean
    return Point(x, 100 * found.value.mean, _in_points(found), name, tag)


def _rule(baseline: SweepRow, column: str = "") -> Rule | None:
    found = baseline.columns.get(column) if column else baseline.mean
    return Rule(100 * found.value.mean, _in_points(found)) if found else None


def _mean_score(row: SweepRow) -> ColumnScore:
    score: ColumnScore = {"value": row.mean.value.mean}
    return score | {"ci95": row.mean.ci95} if row.mean.ci95 else score


def _in_points(found: Pooled) -> tuple[float, float] | None:
    return (100 * found.ci95[0], 100 * found.ci95[1]) if found.ci95 else None


def _costs(rows: list[SweepRow], lines: list[AblationLine]) -> list[Figure]:
    """The mean against GPU time, or time where no machine had a GPU, and against training tokens."""
    styles = {row: (style, line.label) for style, line in enumerate(lines) for _, row in line.points}
    drawn = []
    for key, unit, costs in (("time", *_times(rows)), ("tokens", "training tokens", [row.cost.tokens for row in rows])):
        series = []
        for place, (row, cost) in enumerate(zip(rows, costs, strict=True)):
            if cost is not None and row.trained:
                style, label = styles.get(place, (0, row.group.name))
                point = _point(row, "", cost, f"run {row.number}", str(row.number))
                series.append(Series(label, style, [point], joined=False))
        title = unit[:1].upper() + unit[1:]
        drawn.append(drawings.cost_against_score(f"cost-{key}", title, unit, series, _rule(rows[0])))
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
    for row in rows:
        for run in row.group.runs:
            path = RunDir(run.folder).config
            config = flat(read_config(path)) if path.is_file() else {}
            shown = {visible(key): visible(value) for key, value in sorted(config.items())}
            found.append({"name": visible(run.name), "config": shown})
    return found


def _limits(found: Pooled | Difference | None) -> str:
    """`41.0–51.2`, of differences `−1.2 to +0.4`; nothing where it is not known."""
    if found is None or found.ci95 is None:
        return ""
    low, high = found.ci95
    return f"{points(low)}–{points(high)}" if isinstance(found, Pooled) else f"{difference(low)} to {difference(high)}"


def _sign(found: Difference) -> str:
    """The verdict's sign; its words stand beside it."""
    return {HIGHER: "▲", LOWER: "▼"}.get(found.verdict, "≈")


def _kind(found: Difference) -> str:
    """The verdict's class in the style sheet."""
    return found.verdict if found.verdict in (HIGHER, LOWER) else "noise"
