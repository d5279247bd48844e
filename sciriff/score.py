"""Turn saved predictions and judgements into scores. Needs no GPU, no network and no model.

`python -m sciriff.score RUN_DIR` reads predictions/<task>.jsonl (of the run, or of the folder that `predictions` names)
and judgements/<task>.jsonl, and writes scores.json and tables/.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from sciriff.config import Config, nearest
from sciriff.metrics.answer_end import stripped_as_reference, without_end_marker
from sciriff.metrics.judge_rating import RATINGS
from sciriff.progress import Progress
from sciriff.records import read_json_objects
from sciriff.run_dir import RunDir
from sciriff.stage import run_stage
from sciriff.tasks import COLUMNS, HELD_OUT, NAMES
from sciriff.tasks.task import UNREADABLE, Scored, Task

MISSING = "NA"
"""A column without a value, in the tables: what pandas and R read as missing."""
SHOWN = 3
"""How many instances an error names; the rest are counted."""


@dataclass(frozen=True)
class Answer:
    """What is needed of one row of predictions."""

    instance_id: str
    prediction: str
    reference: str
    place: str
    """`file:line`, for errors."""


@dataclass(frozen=True)
class TaskAnswers:
    """What is scored of one task."""

    answers: list[Answer]
    missing: int
    """Instances that were asked and have no answer; above 0 only under allow_missing."""


def main(config: Config, run: RunDir) -> None:
    """The stage: read everything, score it, write scores.json and the tables, print the summary."""
    folder = Path(config.predictions) if config.predictions else run.predictions
    tasks = read_predictions(folder, config.eval.tasks, config.allow_missing)
    parity = config.eval.parity == "reference"
    progress = Progress(sum(len(found.answers) for found in tasks.values()))
    done = 0
    results = {}
    for task in HELD_OUT:
        if task.name in tasks:
            found = tasks[task.name]
            scored = [score_answer(task, answer, parity) for answer in found.answers]
            judgements = run.judgements / f"{task.name}.jsonl"
            if task.judged is not None and judgements.is_file():
                scored = add_ratings(task, found.answers, scored, judgements, config.allow_missing)
            results[task.name] = task_scores(task, found, scored)
            done += len(scored)
            progress(done, task.name)
    scores = {
        "model": config.name or config.model.name,
        "parity": config.eval.parity,
        "tasks": results,
        "summary": summarise(results),
    }
    write_text(run.scores, json.dumps(scores, indent=2, allow_nan=False) + "\n")
    write_tables(run.tables, scores)
    print("\n".join(summary_lines(scores)), flush=True)


def read_predictions(folder: Path, names: Sequence[str] | None, allow_missing: bool) -> dict[str, TaskAnswers]:
    """The answers in a folder by task, of the tasks in `names`, or of all that are there.

    expected.json, where it lies beside them, says what was asked. ValueError for a name or a file that belongs to no
    task, for what read_task refuses, and where nothing is left to score.
    """
    for name in names or ():
        if name not in NAMES:
            raise ValueError(f"eval.tasks: {name} is not a held-out task{nearest(name, NAMES)}")
    files = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    for name, path in files.items():
        if name not in NAMES:
            raise ValueError(f"{path}: {name} is not a held-out task{nearest(name, NAMES)}")
    if not files:
        raise ValueError(
            f"{folder}: there are no predictions here; run the predict stage, or name a folder of <task>.jsonl files "
            "with predictions=FOLDER"
        )
    expected = read_expected(folder / RunDir(folder).expected.name)
    wanted = [name for name in NAMES if (name in files or name in expected if names is None else name in names)]
    found = {name: read_task(folder / f"{name}.jsonl", name, expected.get(name), allow_missing) for name in wanted}
    found = {name: task for name, task in found.items() if task.answers}
    if not found:
        raise ValueError(f"{folder}: there are no predictions of the chosen tasks here")
    return found


def read_task(path: Path, task: str, expected: Sequence[str] | None, allow_missing: bool) -> TaskAnswers:
    """The answers of one task in the order in which they were asked; `expected` None takes the file's word for that.

    ValueError for a broken line, an instance that stands twice or was not asked, and, unless `allow_missing`, for one
    that is missing or a file that holds nothing.
    """
    answers = read_answers(path, task) if path.is_file() else {}
    asked = dict.fromkeys(answers if expected is None else expected)
    strangers = [instance_id for instance_id in answers if instance_id not in asked]
    if strangers:
        raise ValueError(f"{path}: {_some(strangers)} not among the instances that were asked")
    missing = [instance_id for instance_id in asked if instance_id not in answers]
    if missing and not allow_missing:
        raise ValueError(
            f"{path}: {_some(missing)} missing of {len(asked)} instances; run the predict stage again, or score what "
            "is there with allow_missing=true"
        )
    if not answers and not allow_missing:
        raise ValueError(f"{path}: there is no prediction in it" if path.is_file() else f"{path} does not exist")
    return TaskAnswers([answers[instance_id] for instance_id in asked if instance_id in answers], len(missing))


def read_expected(path: Path) -> dict[str, list[str]]:
    """Which instances were asked, by task; nothing where nobody wrote it down."""
    if not path.is_file():
        return {}
    try:
        expected = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(expected, dict) or not all(
        isinstance(ids, list) and all(isinstance(instance_id, str) for instance_id in ids) for ids in expected.values()
    ):
        raise ValueError(f"{path}: expected an object of lists of instance ids")
    return expected


def read_answers(path: Path, task: str) -> dict[str, Answer]:
    """The rows of one file by instance id. ValueError names file and line."""
    answers: dict[str, Answer] = {}
    for number, row in read_json_objects(path):
        place = f"{path}:{number}"
        for key in ("instance_id", "prediction", "reference"):
            if not isinstance(row.get(key), str):
                raise ValueError(f"{place}: {key} must be a text, found {type(row.get(key)).__name__}")
        if row.get("task", task) != task:
            raise ValueError(f"{place}: this row is of the task {row['task']!r}, not {task}")
        answer = Answer(row["instance_id"], row["prediction"], row["reference"], place)
        first = answers.setdefault(answer.instance_id, answer)
        if first is not answer:
            raise ValueError(f"{place}: instance {answer.instance_id} stands here twice, first at {first.place}")
    return answers


def score_answer(task: Task, answer: Answer, parity: bool) -> Scored:
    """One answer in numbers. ValueError, with the place, where the reference cannot be used."""
    try:
        return task.score(answer.prediction, answer.reference, parity)
    except ValueError as error:
        raise ValueError(f"{answer.place}: {error}") from None


def add_ratings(
    task: Task, answers: list[Answer], scored: list[Scored], path: Path, allow_missing: bool
) -> list[Scored]:
    """The scored answers with the judge's ratings of them.

    ValueError where a judgement is of no answer, stands twice or has no rating that can be, and, unless
    `allow_missing`, where an answer that is to be judged was not.
    """
    assert task.judged is not None
    rule = task.judged.rule
    positions = {answer.instance_id: position for position, answer in enumerate(answers)}
    rated: dict[int, int | None] = {}
    if rule.missing_answer is not None:
        rated = {p: rule.missing_answer for p, row in enumerate(scored) if task.answer_is_missing(row)}
    read: dict[str, str] = {}
    for number, row in read_json_objects(path):
        place = f"{path}:{number}"
        instance_id, rating = row.get("instance_id"), row.get("rating")
        if not isinstance(instance_id, str) or instance_id not in positions:
            raise ValueError(f"{place}: the instance {instance_id!r} has no prediction; judge these predictions again")
        if instance_id in read:
            raise ValueError(f"{place}: instance {instance_id} stands here twice, first at {read[instance_id]}")
        if rating is not None and (isinstance(rating, bool) or rating not in RATINGS):
            raise ValueError(f"{place}: rating={rating!r} must be a whole number from 1 to 5, or null")
        read[instance_id] = place
        rated[positions[instance_id]] = rating
    unrated = [answers[p].instance_id for p in rule.sample(len(answers)) if p not in rated]
    if unrated and not allow_missing:
        raise ValueError(
            f"{path}: {_some(unrated)} not judged; run the judge stage again, or score what is there with "
            "allow_missing=true"
        )
    return [replace(row, judge=rule.count(rated[p])) if p in rated else row for p, row in enumerate(scored)]


def task_scores(task: Task, found: TaskAnswers, scored: list[Scored]) -> dict[str, Any]:
    """What scores.json says of one task."""
    details = task.details(scored)
    unreadable = {kind: sum(row.unreadable == kind for row in scored) for kind in UNREADABLE}
    ends = (
        without_end_marker(answer.prediction) != stripped_as_reference(answer.prediction) for answer in found.answers
    )
    return {
        "n": len(scored),
        "missing": found.missing,
        "readable": 1 - sum(unreadable.values()) / len(scored),
        "unreadable": unreadable,
        "end_differs": sum(ends),  # answers of which the reference's stripping leaves something else than ours
        "rated": sum(int(row.judge.rated) for row in scored),
        "headline": {name: details[task.summary[name]] for name in task.headline if task.summary[name] in details},
        "details": details,
    }


def summarise(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The columns that have a value (0-1), their mean and median (None without any), and the names of the others."""
    columns = {
        f"{name}/{short}": {"value": value}
        for name, result in results.items()
        for short, value in result["headline"].items()
    }
    values = [column["value"] for column in columns.values()]
    return {
        "columns": columns,
        "mean": fmean(values) if values else None,
        "median": median(values) if values else None,
        "missing": [name for name in COLUMNS if name not in columns],
    }


def summary_lines(scores: dict[str, Any]) -> list[str]:
    """The summary as a table for people: every column with its n, readable share and value x100, then the mean."""
    summary = scores["summary"]
    width = max(map(len, COLUMNS))
    lines = [f"{'column':<{width}}      n  readable   score"]
    for name in COLUMNS:
        result, column = scores["tasks"].get(name.partition("/")[0]), summary["columns"].get(name)
        answers = f"{result['n']:>7}{result['readable']:>10.2f}" if result else " " * 17
        value = f"{100 * column['value']:.2f}" if column else "missing"
        lines.append(f"{name:<{width}}{answers}{value:>8}")
    for statistic in ("mean", "median"):
        value = "none" if summary[statistic] is None else f"{100 * summary[statistic]:.2f}"
        lines.append(f"{f'{statistic} of {_covers(summary)}':<{width}}{value:>25}")
    return lines + _remarks(scores)


def _remarks(scores: dict[str, Any]) -> list[str]:
    """What a reader of the numbers must know beside them."""
    results = scores["tasks"]
    lines = []
    for name, result in results.items():
        kinds = [f"{count} {kind}" for kind, count in result["unreadable"].items() if count]
        if kinds:
            lines.append(f"{name}: not readable: {', '.join(kinds)}")
        if result["rated"]:
            lines.append(f"{name}: a judge rated {result['rated']} answers")
        if result["missing"]:
            lines.append(f"{name}: {result['missing']} of {result['n'] + result['missing']} answers are missing")
    differing = sum(result["end_differs"] for result in results.values())
    if differing:
        answers = sum(result["n"] for result in results.values())
        used = "that was used here" if scores["parity"] == "reference" else "eval.parity=reference uses it"
        lines.append(f"the reference's stripping changes {differing} of {answers} answers ({used})")
    return lines


def _covers(summary: dict[str, Any]) -> str:
    return f"{len(summary['columns'])} of {len(COLUMNS)}"


def write_tables(folder: Path, scores: dict[str, Any]) -> None:
    """tables/summary.tsv in the reference's layout (x100), and one table of all scores (0-1) for each task."""
    for task in HELD_OUT:
        if task.name in scores["tasks"]:
            details = scores["tasks"][task.name]["details"]
            values = [f"{value:.4f}" if isinstance(value, float) else str(value) for value in details.values()]
            write_tsv(folder / f"{task.name}.tsv", [["model", *details], [scores["model"], *values]])
        else:
            (folder / f"{task.name}.tsv").unlink(missing_ok=True)
    summary = scores["summary"]
    # Under `mean` the reference has an empty cell. Ours says what a mean is of when it is not of all columns.
    covers = "" if not summary["missing"] else f"of {_covers(summary)}"
    values = [summary["columns"].get(name, {}).get("value") for name in COLUMNS]
    cells = [MISSING if v is None else f"{100 * v:.2f}" for v in (*values, summary["mean"], summary["median"])]
    write_tsv(
        folder / "summary.tsv",
        [
            ["task", *(task.short_name for task in HELD_OUT for _ in task.headline), "mean", "median"],
            ["metric", *(name for task in HELD_OUT for name in task.headline), covers, covers],
            [scores["model"], *cells],
        ],
    )


def write_tsv(path: Path, rows: list[list[str]]) -> None:
    """Write a table whose columns are parted by tabs."""
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def _some(instance_ids: list[str]) -> str:
    """`a, b, c and 7 more are`, as the subject of a sentence."""
    shown = ", ".join(instance_ids[:SHOWN])
    more = f" and {len(instance_ids) - SHOWN} more" if len(instance_ids) > SHOWN else ""
    return f"{shown}{more} {'is' if len(instance_ids) == 1 else 'are'}"


if __name__ == "__main__":
    run_stage(main)
