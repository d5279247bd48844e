"""Gather what the run folder knows and fill the template: one file, nothing fetched, reproducible bytes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciriff.config import Config
from sciriff.data.training_metrics import read_metrics
from sciriff.report import about, bars, figures, general, mix_card, other_parity, run_scores, template
from sciriff.report.answers import Answers, read_answers
from sciriff.report.browser import Browser, browser
from sciriff.report.cards import cards
from sciriff.report.side_by_side import MOST_RUNS, ShownRun, read_shown
from sciriff.report.times import stage_times, step_times
from sciriff.report.training import curves, totals
from sciriff.results.finished_runs import read_run
from sciriff.results.scores import coverage
from sciriff.run import number_format
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir
from sciriff.tasks import NAMES
from sciriff.tasks.own import columns_of

HERE = Path(__file__).parent
BROWSER_SCRIPTS = ("paged_list.js", "word_diff.js", "prediction.js", "marks.js", "browser.js")
"""What the browser of answers needs beside page.js, in any page."""
SCRIPTS = ("page.js", *BROWSER_SCRIPTS, "general_items.js")
SHADES = 5
"""Steps of the colour of a confusion matrix, beside no colour for 0."""


def filled(values: dict[str, Any]) -> bytes:
    """The page that shows what `content` gathered."""
    functions: template.Functions = {
        "points": run_scores.points,
        "exact_points": number_format.points,
        "coverage": lambda columns: coverage(columns, len(values["columns"])),
        "strip": figures.strip,
        "bar": bars.bar,
        "tokens": mix_card.tokens,
        "shade": _shade,
        "difference": run_scores.difference,
        "order_of": run_scores.order_of,
        "p": number_format.p_value,
        "sign": run_scores.verdict_sign,
        "kind": run_scores.verdict_kind,
    }
    scripts = [HERE / name for name in SCRIPTS]
    return template.filled(HERE / "page.html.jinja", [HERE / "page.css"], scripts, functions, values)


def content(config: Config, run: RunDir) -> dict[str, Any]:
    """What the templates show, by the names that they use. UserError names the file that is missing or broken."""
    name = config.name or run.root.name
    scores = run_scores.read_run_scores(run, name)
    beside = run_scores.read_beside(config.report.beside)
    runs = [scores, *beside]
    tasks = run_scores.held_out_in(runs)
    metrics = read_metrics(run.metrics)
    manifest = Manifest.read(run.manifest)
    mix = mix_card.read(run.mix_card)
    answers = read_answers(config, run)
    abilities = general.read_section(config, run, scores, beside)
    predictions = _browser(config, name, answers, beside) if answers else None
    return {
        "name": name,
        "sentence": " ".join([run_scores.sentence(scores, beside), *([abilities.clause] if abilities else [])]),
        "notes": about.notes(config, scores, mix),
        "runs": runs,
        "others": lambda column: [run.columns.get(column) for run in beside],
        "tasks": tasks,
        "own": [task.name for task in tasks if task.name not in NAMES],
        "columns": columns_of(tasks),
        "best": run_scores.best_per_column(runs),
        "intervals": any("ci95" in score for run in runs for score in run.columns.values()),
        "sampled": any(run.samples > 1 for run in runs),
        "same_columns": len({tuple(run.columns) for run in runs}) == 1,
        "other_parity": other_parity.other_parity(scores.scores),
        "cards": cards(scores, answers),
        "general": abilities,
        "browser": predictions,
        "parts": [*(predictions.parts if predictions else []), *(abilities.parts if abilities else [])],
        "metrics": metrics,
        "curves": curves(metrics),
        "totals": totals(metrics),
        "facts": about.facts(config),
        "mix": mix,
        "datasets": mix_card.datasets(mix) if mix else [],
        "mix_others": mix_card.others(mix) if mix else [],
        "stages": stage_times(manifest),
        "step_times": step_times(manifest, metrics),
        "provenance": mix_card.listed(manifest.about),
        "config_text": run.config.read_text(encoding="utf-8"),
    }


def _browser(
    config: Config, name: str, answers: dict[str, Answers], beside: Sequence[run_scores.RunScores]
) -> Browser | None:
    """The answers, and those of the first runs beside them."""
    texts: dict[str, str] = {}
    shown, notes = [ShownRun(name, answers)], []
    for other, folder in zip(beside, config.report.beside, strict=True):
        if len(shown) == MOST_RUNS:
            notes.append(f"{other.name}: its answers are not shown, as {MOST_RUNS} runs are here.")
            continue
        own = folder if other.name in (run.name for run in shown) else other.name
        try:
            found, reasons = read_shown(replace(read_run(Path(folder)), name=own), texts)
        except ValueError as error:
            found, reasons = ShownRun(own, {}), [f"{own}: its answers are not shown: {error}."]
        notes += reasons
        if found.tasks:
            shown.append(found)
    return browser(shown, config.report.predictions_per_task, notes=notes)


def _shade(count: int, row: tuple[int, ...]) -> int:
    """How dark a cell of a confusion matrix is, by its share of the row: 0 for none, SHADES for the whole row."""
    return 0 if not count else max(1, round(SHADES * count / sum(row)))
