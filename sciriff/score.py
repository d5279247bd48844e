"""Turn saved predictions and judgements into scores. Needs no GPU, no network and no model.

`python -m sciriff.score RUN_DIR` reads predictions/<task>.jsonl (of the run, or of the folder that `predictions`
names), judgements/<task>.jsonl and general/, and writes scores.json, tables/ and per_instance/. Where there are several
samples of each answer, each is scored as a run of its own; values are the means over them, counts are of all answers.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

from sciriff.config import Config
from sciriff.data.documents import document_digests
from sciriff.data.judgements import answers_digest, read_asked, read_ratings
from sciriff.data.records import named
from sciriff.data.saved_answers import SavedAnswer, TaskAnswers, read_predictions, some
from sciriff.data.selection import chosen_by
from sciriff.results.general_items import GeneralRun, read_general, score_general
from sciriff.results.general_table import write_general_table
from sciriff.results.parity_differences import other_parity, scored_by_other_rules, task_differences
from sciriff.results.per_instance import write_per_instance
from sciriff.results.samples import averaged, spread
from sciriff.results.score_intervals import Term, combined_interval, interval, note
from sciriff.results.score_tables import write_tables
from sciriff.results.scores import (
    NOTES,
    SELECTED,
    ColumnScore,
    JudgeReport,
    Scores,
    Summary,
    TaskDifferences,
    TaskScores,
    write_scores,
)
from sciriff.results.shared_documents import TOO_FEW
from sciriff.results.summary_table import summary_lines
from sciriff.results.task_columns import TaskColumns, parts, vectors
from sciriff.results.thought_counts import thought_counts
from sciriff.run.messages import show
from sciriff.run.progress import Progress
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.stage import run_stage
from sciriff.tasks.metrics.answer_end import end_differs
from sciriff.tasks.own import columns_of, names_of
from sciriff.tasks.task import UNREADABLE, Scored, Task


def main(config: Config, run: RunDir) -> None:
    """Read everything, score it, write scores.json and the tables, print the summary."""
    folder = Path(config.predictions) if config.predictions else run.predictions
    held_out = config.eval.held_out
    wanted = config.predictions_filter
    tasks = read_predictions(folder, config.eval.tasks, config.allow_missing, names_of(held_out), wanted)
    parity = config.eval.parity == "reference"
    progress = Progress(sum(len(found.answers) for found in tasks.values()))
    done = 0
    results: dict[str, TaskScores] = {}
    differences: dict[str, TaskDifferences] = {}
    columns: list[TaskColumns] = []
    details: dict[str, dict[int, dict[str, float]]] = {}
    """Task -> sample -> its values."""
    for task in held_out:
        per_instance = run.per_instance / f"{task.name}.jsonl"
        if task.name not in tasks:
            per_instance.unlink(missing_ok=True)  # of an earlier choice of tasks
        else:
            found = tasks[task.name]
            scored = [score_answer(task, answer, parity) for answer in found.answers]
            scored, judge = add_ratings(task, found, scored, run, config.allow_missing)
            samples = found.by_sample(scored)
            details[task.name] = {number: task.details(rows) for number, rows in samples.items()}
            results[task.name] = task_scores(task, found, scored, [*details[task.name].values()])
            if judge is not None:
                results[task.name]["judge"] = judge
            texts = ((answer.prediction, answer.reference) for answer in found.answers)
            other = found.by_sample(scored_by_other_rules(task, texts, scored, parity))
            if (differing := task_differences(task, [*samples.values()], [*other.values()])) is not None:
                differences[task.name] = differing
            documents = documents_of(found)
            numbers = {answer.key: task.vector(row) for answer, row in zip(found.answers, scored, strict=True)}
            rows = vectors(task, numbers, found.instances)
            columns += parts(task, [rows], [documents[i] for i in found.instances])
            answers = (
                (a.instance_id, a.sample, a.reference, row) for a, row in zip(found.answers, scored, strict=True)
            )
            write_per_instance(per_instance, task, answers, documents)
            done += len(scored)
            progress(done, task.name)
    summary = add_spreads(summarise(results, held_out), details, held_out)
    summary = add_intervals(summary, columns, config.eval.resamples > 0)
    label_documents(results, summary, columns)
    label_selected(results, summary, tasks, chosen_by(config, run))
    scores: Scores = {
        "model": config.name or config.model.name,
        "parity": config.eval.parity,
        "samples": max(found.samples for found in tasks.values()),
        "tasks": results,
        "summary": summary,
        "other_parity": other_parity(held_out, config.eval.parity, summary["columns"], differences),
    }
    if scores["samples"] == 1:
        del scores["samples"]
    general = read_scored_general(config, run)
    if general is not None:
        scores["general"] = score_general(general, config.eval.resamples)
    if config.eval.own_tasks:
        scores["own_tasks"] = dict(sorted(config.eval.own_tasks.items()))
    write_scores(run.scores, scores)
    write_tables(run.tables, [scores])
    write_general_table(run.tables, general, config.eval.resamples)
    show(*summary_lines(scores))


def read_scored_general(config: Config, run: RunDir) -> GeneralRun | None:
    """Read what the general tasks scored; None if the run has none. UserError where their stage should have left it,
    unless `allow_missing`."""
    general = read_general(run, texts=False) if config.measures_general else None
    if general is None and "general" in config.active_stages and not config.allow_missing:
        raise UserError(
            f"{run.general_settings} does not exist; run the stages predict and general, or score what is there with "
            "allow_missing=true"
        )
    return general


def score_answer(task: Task, answer: SavedAnswer, parity: bool) -> Scored:
    """Score one answer. UserError, with the place, where the reference cannot be used."""
    try:
        return task.score(answer.prediction, answer.reference, parity)
    except ValueError as error:
        raise UserError(f"{answer.place}: {error}") from None


def add_ratings(
    task: Task, found: TaskAnswers, scored: list[Scored], run: RunDir, allow_missing: bool
) -> tuple[list[Scored], JudgeReport | None]:
    """The scored answers with the judge's ratings, and a report on these; None without a judge.

    UserError for a judgement that is of another answer, is there twice or has an impossible rating, and, unless
    `allow_missing`, for an answer that should have been judged.
    """
    answers, path = found.answers, run.judgements / f"{task.name}.jsonl"
    every = read_asked(run.asked_of_judge)
    asked = every.get(task.name) if every is not None else None
    if task.judged is None or (asked is None and (every is not None or not path.is_file())):
        return scored, None
    if asked is not None and asked.answers != answers_digest((a.instance_id, a.sample, a.prediction) for a in answers):
        raise UserError(
            f"{path}: the judge rated other answers than these; run the judge stage again, or move {path.parent} away"
        )
    rule = task.judged.rule
    drawn = found.drawn(rule.sample)
    positions = {answer.key: position for position, answer in enumerate(answers)}
    ratings = read_ratings(path, positions, asked) if path.is_file() else {}
    rated: dict[int, int | None] = {}
    if rule.missing_answer is not None:
        rated = {p: rule.missing_answer for p, row in enumerate(scored) if task.answer_is_missing(row)}
    rated |= {positions[key]: rating.rating for key, rating in ratings.items()}
    unrated = [named(a.key) for p, a in enumerate(answers) if a.instance_id in drawn and p not in rated]
    if unrated and not allow_missing:
        raise UserError(
            f"{path}: {some(unrated)} not judged; run the judge stage again, or score what is there with "
            "allow_missing=true"
        )
    counts: JudgeReport = {
        "judge": "+".join(sorted({rating.judge for rating in ratings.values()})),
        "judged": len(ratings),
        "unreadable": sum(rating.rating is None for rating in ratings.values()),
        "missing_answers": len(rated) - len(ratings),
        "not_judged": len(unrated),
    }
    return [replace(row, judge=rule.count(rated[p])) if p in rated else row for p, row in enumerate(scored)], counts


def documents_of(found: TaskAnswers) -> dict[str, str | None]:
    """Instance id -> digest of the document that its prompt is about; None where it cannot be known."""
    prompts = dict.fromkeys(found.instances, "")
    for answer in found.answers:
        prompts[answer.instance_id] = prompts[answer.instance_id] or answer.prompt
    return dict(zip(prompts, document_digests([*prompts.values()]), strict=True))


def task_scores(task: Task, found: TaskAnswers, scored: list[Scored], samples: list[dict[str, float]]) -> TaskScores:
    """One task's part of scores.json. `samples` are the details of each sample of the answers."""
    details = averaged(samples)
    spreads = {name: spread([sample[name] for sample in samples]) for name in details}
    unreadable = {kind: sum(row.unreadable == kind for row in scored) for kind in UNREADABLE}
    result: TaskScores = {
        "n": len(found.instances),
        "missing": found.missing,
        "benchmark": found.benchmark,
        "readable": 1 - sum(unreadable.values()) / len(scored),
        "unreadable": unreadable,
        "end_differs": sum(end_differs(answer.prediction) for answer in found.answers),
        # what the model did not see, and did not get to say; 0 of another tool's rows, which do not tell
        "truncated_prompts": sum(bool(answer.truncated_tokens) for answer in found.answers),
        "truncated_tokens": sum(answer.truncated_tokens or 0 for answer in found.answers),
        "skipped_prompts": sum(answer.finish_reason == "skipped" for answer in found.answers),
        "cut_answers": sum(answer.finish_reason == "length" for answer in found.answers),
        "rated": sum(int(row.judge.rated) for row in scored),
        "headline": {name: details[task.summary[name]] for name in task.headline if task.summary[name] in details},
        "details": details,
    }
    if thoughts := thought_counts(
        (answer.finish_reason, answer.thought_tokens, answer.thought) for answer in found.answers
    ):
        result["thoughts"] = thoughts
    if found.taken is not None and len(found.filters) > 1:
        result["filter"] = {"taken": found.taken, "others": [name for name in found.filters if name != found.taken]}
    if found.samples > 1:
        result |= {"answers": len(scored), "sd_over_samples": spreads}
    return result


def summarise(results: dict[str, TaskScores], tasks: Sequence[Task]) -> Summary:
    """The columns with a value (0-1), their mean and median (None without any), and the names of the others."""
    columns: dict[str, ColumnScore] = {
        f"{name}/{short}": {"value": value}
        for name, result in results.items()
        for short, value in result["headline"].items()
    }
    values = [column["value"] for column in columns.values()]
    return {
        "columns": columns,
        "mean": fmean(values) if values else None,
        "median": median(values) if values else None,
        "missing": [name for name in columns_of(tasks) if name not in columns],
    }


def add_spreads(
    summary: Summary, details: Mapping[str, Mapping[int, Mapping[str, float]]], tasks: Sequence[Task]
) -> Summary:
    """The summary with standard deviations over samples (0-1). `details` are those of each sample of each task."""
    of_samples: dict[int, list[float]] = {}
    for task in tasks:
        for column, short in zip(task.columns, task.headline, strict=True):
            if column in summary["columns"]:
                values = {number: found[task.summary[short]] for number, found in details[task.name].items()}
                for number, value in values.items():
                    of_samples.setdefault(number, []).append(value)
                if (found := spread([*values.values()])) is not None:
                    summary["columns"][column]["sd_over_samples"] = found
    whole = [fmean(values) for values in of_samples.values() if len(values) == len(summary["columns"])]
    if (found := spread(whole)) is not None:
        summary["mean_sd_over_samples"] = found
    return summary


def add_intervals(summary: Summary, columns: Sequence[TaskColumns], intervals: bool) -> Summary:
    """The summary with 95 % intervals (0-1), `ci95` and `mean_ci95`. One instance has none, nor has its mean."""
    terms: list[Term] = []
    for part in columns if intervals else ():
        [scores] = part.linear()
        wanted = [column for column in part.columns if column in summary["columns"]]
        for column in wanted:
            terms.append(Term(1 / len(summary["columns"]), scores[column], part.task.name))
            if (found := interval(scores[column])) is not None:
                summary["columns"][column]["ci95"] = found
                if text := note(scores[column]):
                    summary["columns"][column]["ci95_note"] = text
    if terms and len(terms) == len(summary["columns"]) and (found := combined_interval(terms)) is not None:
        summary["mean_ci95"] = found
    return summary


def label_documents(results: dict[str, TaskScores], summary: Summary, columns: Sequence[TaskColumns]) -> None:
    """Say in which tasks documents are the units of intervals, and in which these are too few."""
    for part in columns:
        known = (summary["columns"][name] for name in part.columns if name in summary["columns"])
        found = [score for score in known if "ci95" in score]
        if found and part.by_document:
            results[part.task.name]["documents"] = part.documents
        elif part.documents < part.n:
            for score in found:
                score["ci95_note"] = NOTES.join([TOO_FEW, *filter(None, [score.get("ci95_note")])])


def label_selected(
    results: dict[str, TaskScores], summary: Summary, tasks: Mapping[str, TaskAnswers], chosen: AbstractSet[str]
) -> None:
    """Say of the scores of tasks with instances that the model was `chosen` by that it was."""
    for name, result in results.items():
        if count := len(chosen & {*tasks[name].instances}):
            result["selected_on"] = count
            for column, score in summary["columns"].items():
                if column.partition("/")[0] == name:
                    score["selected"] = SELECTED


if __name__ == "__main__":
    run_stage(main)
