"""The summary of scores.json as a table for people, for the score stage and the driver to print."""

from collections.abc import Sequence

from sciriff.results.scores import (
    ColumnScore,
    JudgeCounts,
    Scores,
    Summary,
    TaskScores,
    answers_of,
    columns_and_statistics,
    coverage,
    other_values,
)
from sciriff.tasks import COLUMNS, HELD_OUT

JUDGED = frozenset(column for task in HELD_OUT for column in task.judged_columns)


def summary_lines(scores: Scores) -> list[str]:
    """The summary as a table for people: every column with its n, readable share, value and 95 % interval (both x100),
    with several samples of each answer their standard deviation, then the mean."""
    summary, samples = scores["summary"], scores.get("samples", 1)
    known = columns_and_statistics(summary)
    width = max(map(len, COLUMNS))
    spread_width = len(_spread_heading(samples)) + 2 if samples > 1 else 0
    lines = [
        f"{'column':<{width}}      n  readable   score{'95 % interval':>16}"
        + (f"{_spread_heading(samples):>{spread_width}}" if spread_width else "")
    ]
    for name in COLUMNS:
        result = scores["tasks"].get(name.partition("/")[0])
        answers = f"{result['n']:>7}{result['readable']:>10.2f}" if result else " " * 17
        lines.append(f"{name:<{width}}{answers}{_cells(known.get(name), 'missing', 8, spread_width)}")
    for name in ("mean", "median"):
        label = f"{name} of {coverage(summary['columns'])}"
        lines.append(f"{label:<{width}}{_cells(known.get(name), 'none', 25, spread_width)}")
    remarks = _remarks(scores) + _other_parity(scores)
    return [*lines, "", *remarks] if remarks else lines


def _cells(score: ColumnScore | None, without: str, width: int, spread_width: int) -> str:
    """Value, interval and spread, or what stands there `without` a score."""
    if score is None:
        return f"{without:>{width}}{'':>{16 + spread_width}}"
    spread = _spread(score.get("sd_over_samples"))
    return f"{100 * score['value']:>{width}.2f}{_interval(score.get('ci95')):>16}{spread:>{spread_width}}"


def _interval(limits: Sequence[float] | None) -> str:
    """`[46.1, 57.0]`, nothing where it is not known."""
    return f"[{100 * limits[0]:.1f}, {100 * limits[1]:.1f}]" if limits else ""


def _spread_heading(samples: int) -> str:
    return f"sd over {samples} samples"


def _spread(sd: float | None) -> str:
    return "" if sd is None else f"± {100 * sd:.2f}"


def _remarks(scores: Scores) -> list[str]:
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


def _other_parity(scores: Scores) -> list[str]:
    """The columns that have another value under the other rules of scoring, and that value."""
    other, summary = scores.get("other_parity"), scores["summary"]
    if other is None or not other["tasks"]:  # of an earlier version, or nothing differs
        return []
    rows = [
        (name if name in COLUMNS else f"{name} of {coverage(summary['columns'])}", here, there)
        for name, here, there in other_values(scores)
    ]
    width = max((len(name) for name, _, _ in rows), default=0)
    details = sum(len(task["details"]) for task in other["tasks"].values())
    return [
        f"the same answers under eval.parity={other['parity']}: {details} values differ, "
        f"{len(other['columns'])} of them columns (scores.json and the report have all)",
        *(f"  {name:<{width}}{100 * there:>8.2f}  ({signed(there - here)})" for name, here, there in rows),
    ]


def signed(difference: float) -> str:
    """A difference of values in [0, 1] in points of 100, with its sign: `+1.23`, a small one with its first digit."""
    text = f"{100 * difference:+.2f}"
    return text if float(text) or not difference else f"{100 * difference:+.1g}"


def _lengths(result: TaskScores) -> str:
    """What was too long for the model or for its limit, of a task in scores.json; empty where nothing was."""
    n = answers_of(result)
    cut, skipped, ended = (result[name] for name in ("truncated_prompts", "skipped_prompts", "cut_answers"))
    parts = [
        f"{cut} of {n} prompts were too long and lost {result['truncated_tokens']:,} tokens" if cut else "",
        f"{skipped} of {n} prompts were too long and not answered" if skipped else "",
        f"{ended} of {n} answers ran into their limit" if ended else "",
    ]
    return ", ".join(part for part in parts if part)


def judge_line(judge: JudgeCounts) -> str:
    """What a judge did, of `judge` in scores.json: `judged by gpt-4o: 97 answers, 3 of the responses unreadable`."""
    parts = [f"{judge['judged']} answers"]
    if judge["unreadable"]:
        parts.append(f"{judge['unreadable']} of the responses unreadable")
    if judge["missing_answers"]:
        parts.append(f"{judge['missing_answers']} missing answers rated 1 without it")
    if judge["not_judged"]:
        parts.append(f"{judge['not_judged']} not rated that should be")
    return f"judged by {judge['judge'] or 'nobody'}: {', '.join(parts)}"


def mean_line(summary: Summary) -> str:
    """The mean (x100) with its interval, its spread over samples and what it covers: `46.45 [41.5, 50.9] of 9 of 11`;
    empty without one."""
    if summary["mean"] is None:
        return ""
    mean, spread = f"{100 * summary['mean']:.2f}", _spread(summary.get("mean_sd_over_samples"))
    return " ".join(
        filter(None, [mean, _interval(summary.get("mean_ci95")), spread, f"of {coverage(summary['columns'])}"])
    )
