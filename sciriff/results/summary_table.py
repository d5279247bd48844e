"""The summary of scores.json as a table for people, for the score stage and the driver to print."""

from typing import Any

from sciriff.results.terminal_table import table_lines
from sciriff.run.number_format import count_of, interval, plus_minus, points, small_signed_points
from sciriff.run.visible import visible_line
from sciriff.tasks import COLUMNS, HELD_OUT

JUDGED = frozenset(column for task in HELD_OUT for column in task.judged_columns)


def summary_lines(scores: dict[str, Any]) -> list[str]:
    """The summary as a table for people: every column with its n, readable share, value and 95 % interval (both x100),
    with several samples of each answer their standard deviation, then the mean."""
    summary, samples = scores["summary"], scores.get("samples", 1)
    header = ["column", "n", "readable", "score", "95 % interval", f"sd over {samples} samples"]
    rows = []
    for name in COLUMNS:
        result, column = scores["tasks"].get(name.partition("/")[0]), summary["columns"].get(name)
        answers = [str(result["n"]), f"{result['readable']:.2f}"] if result else ["", ""]
        value = points(column["value"]) if column else "missing"
        rows.append([name, *answers, value, *_uncertainty(column or {})])
    for statistic in ("mean", "median"):
        value = "none" if summary[statistic] is None else points(summary[statistic])
        rows.append([f"{statistic} of {coverage(summary)}", "", "", value, *_uncertainty(summary, f"{statistic}_")])
    if samples == 1:
        header, *rows = [row[:-1] for row in (header, *rows)]
    lines = table_lines(header, rows, right=header[1:])
    remarks = _remarks(scores) + _other_parity(scores)
    return [*lines, "", *map(visible_line, remarks)] if remarks else lines


def _uncertainty(values: dict[str, Any], prefix: str = "") -> tuple[str, str]:
    """`[46.1, 57.0]` and `± 0.80`, the interval and the standard deviation over samples; empty where not known."""
    limits, sd = values.get(f"{prefix}ci95"), values.get(f"{prefix}sd_over_samples")
    return interval(limits) if limits else "", "" if sd is None else plus_minus(sd)


def _remarks(scores: dict[str, Any]) -> list[str]:
    """What a reader of the numbers must know beside them."""
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
    differing = sum(result["end_differs"] for result in results.values())
    if differing:
        answers = sum(answers_of(result) for result in results.values())
        used = "that was used here" if scores["parity"] == "reference" else "eval.parity=reference uses it"
        lines.append(f"the reference's stripping changes {differing} of {answers} answers ({used})")
    return lines


def _other_parity(scores: dict[str, Any]) -> list[str]:
    """The columns that have another value under the other rules of scoring, and that value."""
    other, summary = scores.get("other_parity"), scores["summary"]
    if other is None or not other["tasks"]:  # of an earlier version, or nothing differs
        return []
    rows = [(name, summary["columns"][name]["value"], value) for name, value in other["columns"].items()]
    if rows:
        rows += [(f"{name} of {coverage(summary)}", summary[name], other[name]) for name in ("mean", "median")]
    width = max((len(name) for name, _, _ in rows), default=0)
    details = sum(len(task["details"]) for task in other["tasks"].values())
    return [
        f"the same answers under eval.parity={other['parity']}: {details} values differ, "
        f"{len(other['columns'])} of them columns (scores.json and the report have all)",
        *(f"  {name:<{width}}{points(there):>8}  ({small_signed_points(there - here)})" for name, here, there in rows),
    ]


def _lengths(result: dict[str, Any]) -> str:
    """What was too long for the model or for its limit, of a task in scores.json; empty where nothing was."""
    n = answers_of(result)
    cut, skipped, ended = (result[name] for name in ("truncated_prompts", "skipped_prompts", "cut_answers"))
    parts = [
        f"{cut} of {n} prompts were too long and lost {result['truncated_tokens']:,} tokens" if cut else "",
        f"{skipped} of {n} prompts were too long and not answered" if skipped else "",
        f"{ended} of {n} answers ran into their limit" if ended else "",
    ]
    return ", ".join(part for part in parts if part)


def answers_of(result: dict[str, Any]) -> int:
    """How many answers of a task were scored: one to each of its n instances, or several samples."""
    answers: int = result.get("answers", result["n"])
    return answers


def judge_line(judge: dict[str, Any]) -> str:
    """What a judge did, of `judge` in scores.json: `judged by gpt-4o: 97 answers, 3 of the responses unreadable`."""
    parts = [f"{judge['judged']} answers"]
    if judge["unreadable"]:
        parts.append(f"{judge['unreadable']} of the responses unreadable")
    if judge["missing_answers"]:
        parts.append(f"{judge['missing_answers']} missing answers rated 1 without it")
    if judge["not_judged"]:
        parts.append(f"{judge['not_judged']} not rated that should be")
    return f"judged by {judge['judge'] or 'nobody'}: {', '.join(parts)}"


def mean_line(summary: dict[str, Any]) -> str:
    """The mean (x100) with its interval, its spread over samples and what it covers: `46.45 [41.5, 50.9] of 9 of 11`;
    empty without one."""
    if summary["mean"] is None:
        return ""
    parts = [points(summary["mean"]), *_uncertainty(summary, "mean_"), f"of {coverage(summary)}"]
    return " ".join(filter(None, parts))


def coverage(summary: dict[str, Any]) -> str:
    """What its mean and median are made of: `9 of 11`."""
    return count_of([len(summary["columns"])], len(COLUMNS))
