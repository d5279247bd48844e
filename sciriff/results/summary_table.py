"""Draw the summary of scores.json as a table, for the score stage and the driver to print."""

from sciriff.results.scores import (
    NOTES,
    SELECTED,
    ColumnScore,
    GeneralScores,
    GeneralTask,
    JudgeReport,
    Scores,
    Summary,
    TaskScores,
    answers_of,
    columns_and_statistics,
    held_out_of,
    other_values,
    summary_coverage,
)
from sciriff.results.shared_documents import SharedDocuments, documents_lines
from sciriff.results.terminal_table import table_lines
from sciriff.results.thought_counts import thoughts_phrase
from sciriff.run.number_format import interval, plus_minus, points, small_signed_points
from sciriff.run.visible import visible_line
from sciriff.tasks import HELD_OUT
from sciriff.tasks.own import columns_of

JUDGED = frozenset(column for task in HELD_OUT for column in task.judged_columns)
"""Columns that need a judge; no task of one's own has any."""


def summary_lines(scores: Scores) -> list[str]:
    """Draw each column's n, readable share, value, 95 % interval and spread (x100); mean, median and remarks follow.
    The general tasks have a table of their own."""
    general = scores.get("general")
    return [*_science_lines(scores), *(["", *general_lines(general)] if general and general["tasks"] else [])]


def _science_lines(scores: Scores) -> list[str]:
    summary, samples = scores["summary"], scores.get("samples", 1)
    header = ["column", "n", "readable", "score", "95 % interval", f"sd over {samples} samples"]
    rows, known = [], columns_and_statistics(summary)
    for name in columns_of(held_out_of(scores)):
        result = scores["tasks"].get(name.partition("/")[0])
        answers = [str(result["n"]), f"{result['readable']:.2f}"] if result else ["", ""]
        rows.append([name, *answers, *(_cells(known[name]) if name in known else ("missing", "", ""))])
    for name in ("mean", "median"):
        cells = _cells(known[name]) if name in known else ("none", "", "")
        rows.append([f"{name} of {summary_coverage(summary)}", "", "", *cells])
    if samples == 1:
        header, *rows = [row[:-1] for row in (header, *rows)]
    right = header[1:]
    if any("selected" in score for score in known.values()):
        names = [*columns_of(held_out_of(scores)), "mean", "median"]
        marks = [known[name].get("selected", "") if name in known else "" for name in names]
        header, *rows = [[*row, mark] for row, mark in zip((header, *rows), ["", *marks], strict=True)]
    lines = table_lines(header, rows, right=right)
    remarks = _remarks(scores) + _other_parity(scores)
    return [*lines, "", *map(visible_line, remarks)] if remarks else lines


def general_lines(general: GeneralScores) -> list[str]:
    """Draw each general task's documents, value and 95 % interval (x100), their mean, and remarks."""
    header = [f"general abilities ({general['name']})", "n", "score", "95 % interval"]
    rows = []
    for name, task in general["tasks"].items():
        limits = interval(task["ci95"]) if "ci95" in task else ""
        rows.append([name, f"{task['n']:,} of {task['of']:,}", points(task["value"]), limits])
    if general["mean"] is not None:
        rows.append([f"mean of {len(general['tasks'])}", "", *_cells(general["mean"])[:2]])
    remarks = [f"{name}: {text}" for name, task in general["tasks"].items() if (text := _general_lengths(task))]
    lines = table_lines(header, rows, right=header[1:])
    return [*lines, "", *map(visible_line, remarks)] if remarks else lines


def _general_lengths(task: GeneralTask) -> str:
    """Prompts and answers of a general task that were too long, as a phrase; empty if there are none."""
    shortened, skipped, cut, n = (task[name] for name in ("shortened_prompts", "skipped_prompts", "cut_answers", "n"))
    parts = [
        f"{shortened} of {n} prompts were too long and lost examples" if shortened else "",
        f"{skipped} of {n} prompts were too long and count as wrong" if skipped else "",
        f"{cut} of {n} answers ran into their limit" if cut else "",
        *thoughts_phrase(task.get("thoughts"), n),
    ]
    return ", ".join(part for part in parts if part)


def _cells(score: ColumnScore) -> tuple[str, str, str]:
    """Format value, interval and standard deviation over samples: `51.53`, `[46.1, 57.0]`, `± 0.80`."""
    limits, sd = score.get("ci95"), score.get("sd_over_samples")
    return points(score["value"]), interval(limits) if limits else "", "" if sd is None else plus_minus(sd)


def _remarks(scores: Scores) -> list[str]:
    """Lines that a reader of the numbers must know."""
    results = scores["tasks"]
    lines = []
    unjudged = [name for name in scores["summary"]["missing"] if name in JUDGED and name.partition("/")[0] in results]
    if unjudged:
        lines.append(
            f"missing until a judge rates the answers (judge=openai, local or recorded): {', '.join(unjudged)}"
        )
    for name, result in results.items():
        kinds = [f"{count} {kind}" for kind, count in result["unreadable"].items() if count]
        if kinds:
            lines.append(f"{name}: not readable: {', '.join(kinds)}")
        if lengths := _lengths(result):
            lines.append(f"{name}: {lengths}")
        if "judge" in result:
            lines.append(f"{name}: {judge_line(result['judge'])}")
        if result["missing"]:
            lines.append(f"{name}: {result['missing']} of {answers_of(result) + result['missing']} answers are missing")
        if result["benchmark"] not in (None, result["n"]):
            lines.append(f"{name}: {result['n']} answers; SciRIFF's validation split has {result['benchmark']}")
    lines += [*filter_lines(scores), *interval_lines(scores), *selected_lines(scores)]
    if own := scores.get("own_tasks"):
        named = ", ".join(f"{name} ({metric})" for name, metric in sorted(own.items()))
        lines.append(f"not of SciRIFF's nine tasks: {named}; compare the mean only with means of the same columns")
    differing = sum(result["end_differs"] for result in results.values())
    if differing:
        answers = sum(answers_of(result) for result in results.values())
        used = "that was used here" if scores["parity"] == "reference" else "eval.parity=reference uses it"
        lines.append(f"the reference's stripping changes {differing} of {answers} answers ({used})")
    return lines


def filter_lines(scores: Scores) -> list[str]:
    """Lines that say which of lm-eval's filters was scored, where its files have several."""
    return [
        f"{name}: answers of lm-eval's filter {found['taken']}, not of {', '.join(found['others'])} "
        "(predictions_filter=NAME takes another)"
        for name, task in scores["tasks"].items()
        if (found := task.get("filter"))
    ]


def selected_lines(scores: Scores) -> list[str]:
    """A line on tasks whose instances the model was chosen by, if there are any."""
    counts = {name: f"{on} of {task['n']}" for name, task in scores["tasks"].items() if (on := task.get("selected_on"))}
    if not counts:
        return []
    shown = ", ".join(f"{name} ({count})" for name, count in counts.items())
    return [f"{SELECTED}, so that the score of another set may be lower: {shown}"]


def interval_lines(scores: Scores) -> list[str]:
    """Lines that say whose intervals are made of documents, and which intervals are rough or may be too narrow."""
    lines = documents_lines(
        SharedDocuments(name, task["documents"], task["n"])
        for name, task in scores["tasks"].items()
        if "documents" in task
    )
    noted: dict[str, list[str]] = {}
    for name, column in scores["summary"]["columns"].items():
        for note in column.get("ci95_note", "").split(NOTES):
            if note:
                noted.setdefault(note, []).append(name)
    return [*lines, *(f"{', '.join(names)}: 95 % interval: {note}" for note, names in noted.items())]


def _other_parity(scores: Scores) -> list[str]:
    """Lines with the columns that differ under the other rules of scoring."""
    other = scores.get("other_parity")
    if other is None or not other["tasks"]:  # written by an earlier version, or nothing differs
        return []
    covers = f" of {summary_coverage(scores['summary'])}"
    rows = [
        (name + covers if name in ("mean", "median") else name, here, to) for name, here, to in other_values(scores)
    ]
    width = max((len(name) for name, _, _ in rows), default=0)
    details = sum(len(task["details"]) for task in other["tasks"].values())
    return [
        f"the same answers under eval.parity={other['parity']}: {details} values differ, "
        f"{len(other['columns'])} of them columns (scores.json and the report have all)",
        *(
            f"  {name:<{width}}{points(changed):>8}  ({small_signed_points(changed - value)})"
            for name, value, changed in rows
        ),
    ]


def _lengths(result: TaskScores) -> str:
    """Prompts and answers of a task that were too long, as a phrase; empty if there are none."""
    n = answers_of(result)
    cut, skipped, ended = (result[name] for name in ("truncated_prompts", "skipped_prompts", "cut_answers"))
    parts = [
        f"{cut} of {n} prompts were too long and lost {result['truncated_tokens']:,} tokens" if cut else "",
        f"{skipped} of {n} prompts were too long and not answered" if skipped else "",
        f"{ended} of {n} answers ran into their limit" if ended else "",
        *thoughts_phrase(result.get("thoughts"), n),
    ]
    return ", ".join(part for part in parts if part)


def judge_line(judge: JudgeReport) -> str:
    """Summarise `judge` of scores.json: `judged by gpt-4o: 97 answers, 3 of the responses unreadable`."""
    exceptions = (
        (judge["unreadable"], "of the responses unreadable"),
        (judge["missing_answers"], "missing answers rated 1 without it"),
        (judge["not_judged"], "not rated that should be"),
    )
    parts = [f"{judge['judged']} answers", *(f"{count} {what}" for count, what in exceptions if count)]
    return f"judged by {judge['judge'] or 'nobody'}: {', '.join(parts)}"


def general_mean_line(general: GeneralScores | None) -> str:
    """Format the mean of the general tasks (x100), interval and protocol: `49.87 [47.1, 52.6] quick`; empty without."""
    if general is None or general["mean"] is None:
        return ""
    return " ".join(filter(None, (*_cells(general["mean"]), general["name"])))


def mean_line(summary: Summary) -> str:
    """Format the mean (x100), interval, spread and coverage: `46.45 [41.5, 50.9] of 9 of 11`; empty without a mean."""
    if summary["mean"] is None:
        return ""
    parts = [*_cells(columns_and_statistics(summary)["mean"]), f"of {summary_coverage(summary)}"]
    return " ".join(filter(None, parts))
