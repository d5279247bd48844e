"""Write what the other stages leave in a run folder."""

import json
from pathlib import Path
from typing import Any

from sciriff.data.mix_card import MixCard, MixPart
from sciriff.data.records import Prediction
from sciriff.results.per_instance import write_per_instance
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT


def scores(columns: dict[str, float], interval: float | None = None, **task: Any) -> dict[str, Any]:
    tasks = sorted({key.partition("/")[0] for key in columns})
    values = list(columns.values())
    counts = ("missing", "end_differs", "truncated_prompts", "truncated_tokens", "skipped_prompts", "cut_answers")
    nothing: dict[str, Any] = {**dict.fromkeys(counts, 0), "benchmark": None, "rated": 0, "headline": {}}
    known = {"n": 4, "readable": 0.75, "unreadable": {"no_json": 1, "null": 0}, "details": {"bleu": 0.25}}
    return {
        "model": "some/model",
        "parity": "none",
        "tasks": dict.fromkeys(tasks, nothing | known | task),
        "summary": {
            "columns": {
                key: {"value": v} | ({"ci95": [v - interval, v + interval]} if interval else {})
                for key, v in columns.items()
            },
            "mean": sum(values) / len(values) if values else None,
            "median": sorted(values)[len(values) // 2] if values else None,
            "missing": [],
        }
        | ({"mean_ci95": [sum(values) / len(values) - 0.01, sum(values) / len(values) + 0.01]} if interval else {}),
    }


def write_metrics(path: Path, steps: int) -> None:
    rows = [
        {
            "step": step,
            "steps": steps,
            "epoch": 2 * step / steps,
            "loss": 2 / step,
            "lr": 1e-5 * (steps - step),
            "grad_norm": 1.5,
            "tokens": 1000,
            "target_tokens": 250,
            "padding": 0.02,
            "tokens_per_second": 125.0,
            "seconds": 2.0,
            "mfu": None,
            "memory": None,
        }
        for step in range(1, steps + 1)
    ]
    write_jsonl(path, rows)


def write_predictions(run: RunDir, rows: list[Prediction]) -> None:
    """Predictions of one task, with what the score stage writes of each."""
    (task,) = (task for task in HELD_OUT if task.name == rows[0].task)
    write_jsonl(run.predictions / f"{task.name}.jsonl", rows)
    scored = [(row.instance_id, row.sample, row.reference, task.score(row.prediction, row.reference)) for row in rows]
    write_per_instance(run.per_instance / f"{task.name}.jsonl", task, scored)


def mix_card(text: str) -> MixCard:
    """A card with `text` wherever it can hold text."""
    part: MixPart = {
        "rows": 7,
        "prompt_tokens": {"sum": 70, "mean": 10.0, "median": 10.0, "max": 20},
        "target_tokens": {"sum": 14, "mean": 2.0, "median": 2.0, "max": 3},
        "target_share": 1 / 6,
    }
    return {
        "digest": text,
        "recipe": {text: text},
        "licenses": {text: text},
        "chat": text,
        "markup_digest": text,
        "read": {text: 10},
        "commits": {text: text},
        "general_missing": 0,
        "repeated": {text: 1},
        "same_text": 0,
        "shortened": 0,
        "read_with_control_characters": {"rows": 1, "first": [text]},
        "dropped": {text: {"rows": 3, "first": [text]}},
        "dropped_by_source": {text: {text: 3}},
        "dropped_by_dataset": {text: {text: 3}},
        "held_out_rows": 3,
        **part,
        "by_source": {text: part},
        "by_dataset": {text: part},
        "longest": [{"row": text, "tokens": 9}],
        "validation": {
            "wanted": 1,
            "digest": text,
            "compared": True,
            "by_source": {text: {"rows": 1, "from": {text: 1}, "left_out": {text: 1}, "out_of_reach": None}},
        },
        "overlap": {"summary": text, "checked": 7, "pairs": []},
        "near_duplicates": {"summary": text, "checked": 0},  # as without the package that finds them
    }


def fill_run(run: RunDir, text: str) -> None:
    """Give the run everything else that a report can show, with `text` wherever a file can hold text."""
    write_metrics(run.metrics, steps=40)
    reference = json.dumps({"Gene": [text, "p53"], text: ["mice"]})
    answers = (text, reference, json.dumps({"Gene": ["mice", text, "rash"]}))
    rows = [
        Prediction(
            "biored_ner", f"{text}:{i}", text, answers[i % 3], reference, "length" if i % 3 == 0 else text, 9, 7, i % 2
        )
        for i in range(12)
    ]
    write_predictions(run, rows)
    run.mix_card.parent.mkdir()
    run.mix_card.write_text(json.dumps(mix_card(text)))
    manifest = {
        "versions": {text: text},
        "machine": {"gpus": [text]},
        "stages": {
            text: {"status": "done", "inputs": {text: text}, "seconds": 61.4},
            "report": {"status": "running", "inputs": {}, "seconds": 0.0},
        },
    }
    run.manifest.write_text(json.dumps(manifest))
    given = json.loads(run.scores.read_text())
    given["model"] = text
    given["tasks"]["biored_ner"] |= {"unreadable": {text: 2}, "details": {text: 0.5}}
    run.scores.write_text(json.dumps(given))
