"""Gather what the run folder knows and fill the template: one file, no script, nothing fetched, reproducible bytes."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sciriff.config import Config
from sciriff.records import Prediction
from sciriff.report import about, figures, mix_card, other_parity, tables
from sciriff.report.about import Facts
from sciriff.report.answers import Answers, read_answers, visible
from sciriff.report.tables import COLUMNS, SHORT_NAMES, RunScores
from sciriff.report.training import curves, duration, read_metrics, totals
from sciriff.run_dir import RunDir

UNREADABLE = {
    "empty": "empty",
    "no_json": "no JSON in it",
    "null": "a plain null",
    "wrong_type": "JSON of another form",
}
"""The words for a task's kinds of unreadable answers; a kind that is not here stands under its own name."""


def render(config: Config, run: RunDir) -> bytes:
    """The page. ValueError names the file that is missing or broken."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value,
    )
    environment.filters |= {"points": tables.points, "exact_points": other_parity.exact_points, "detail": _detail}
    environment.globals |= {"strip": figures.strip, "ending": _ending}
    page = environment.get_template("page.html.jinja")
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = page.render(style=Markup(style), style_digest=digest, **content(config, run))
    return text.encode()


def content(config: Config, run: RunDir) -> dict[str, Any]:
    """What the template shows, by the names that it uses."""
    name = config.name or run.root.name
    scores = tables.read_scores(run, name)
    beside = tables.read_beside(config.report.beside)
    metrics = read_metrics(run.metrics)
    manifest = _read_object(run.manifest)
    mix = mix_card.read(run.mix_card)
    predictions = Path(config.predictions) if config.predictions else run.predictions
    answers = {found.task: found for found in read_answers(predictions, config.report.predictions_per_task)}
    return {
        "name": name,
        "sentence": tables.sentence(scores, beside),
        "notes": about.notes(config, scores, answers, mix),
        "runs": [scores, *beside],
        "others": lambda key: [run.columns.get(key) for run in beside],
        "columns": COLUMNS,
        "short_names": SHORT_NAMES,
        "tasks_shown": _by_task(),
        "best": tables.best_per_column([scores, *beside]),
        "intervals": any(score.low is not None for run in [scores, *beside] for score in run.columns.values()),
        "same_columns": len({tuple(run.columns) for run in [scores, *beside]}) == 1,
        "other_parity": other_parity.read(run),
        "examples": [found for found in answers.values() if found.shown],
        "answer_rows": [_answer_row(task, scores, answers.get(task)) for task, _ in _by_task()],
        "curves": curves(metrics),
        "totals": totals(metrics),
        "facts": about.facts(config),
        "mix": mix,
        "stages": _stages(manifest),
        "provenance": mix_card.flat({key: value for key, value in manifest.items() if key != "stages"}),
        "config_text": run.config.read_text(encoding="utf-8"),
    }


def _by_task() -> list[tuple[str, list[str]]]:
    return [(task, [column.metric for column in COLUMNS if column.task == task]) for task in SHORT_NAMES]


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file. ValueError for anything else."""
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def _answer_row(task: str, scores: RunScores, answers: Answers | None) -> dict[str, Any]:
    """One line of the table of answers; None where nothing is known."""
    scored = scores.tasks.get(task)
    n = scored.n if scored else answers.n if answers else None
    kinds = sorted(scored.unreadable.items()) if scored else []
    return {
        "task": task,
        "n": n,
        "readable": scored.readable if scored else None,
        "unreadable": ", ".join(f"{count:,} {UNREADABLE.get(kind, kind)}" for kind, count in kinds if count),
        "at_limit": answers.at_limit if answers else None,
        "truncated": answers.truncated if answers else None,
        "empty": answers.empty if answers else None,
        "answered": answers.n if answers else None,
        "output_tokens": answers.output_tokens if answers else None,
        "details": scored.details if scored else {},
    }


def _detail(item: tuple[str, int | float]) -> tuple[str, str]:
    """A flat name of the details and its value; shares stay between 0 and 1 here, as in scores.json."""
    name, value = item
    return name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _ending(row: Prediction) -> str:
    """How one answer ended, in words."""
    known = {"stop": "ended by the model", "length": "ended by the length limit", None: ""}
    known |= {"refusal": "refused by the model", "content_filter": "held back by the provider's filter"}
    parts = [
        f"{row.output_tokens:,} tokens" if row.output_tokens is not None else "",
        known.get(row.finish_reason, f"finish reason {row.finish_reason}"),
        f"{row.truncated_tokens:,} tokens of the prompt were cut" if row.truncated_tokens else "",
    ]
    return ", ".join(part for part in parts if part)


def _stages(manifest: dict[str, Any]) -> Facts:
    """(stage, how long) of those that are finished: the report itself is still being written."""
    stages = manifest.get("stages")
    done = {k: v for k, v in stages.items() if isinstance(v, dict)} if isinstance(stages, dict) else {}
    return [
        (name, duration(record["seconds"]))
        for name, record in done.items()
        if record.get("status") == "done" and isinstance(record.get("seconds"), int | float)
    ]
