"""Score the same answers under the other value of `eval.parity`, and keep the numbers that differ.

Scoring has two sets of rules: ours, and the reference code's with its traps. `other_parity` in scores.json holds the
other set's value of every column and detail that differs, to compare with older results.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean, median

from sciriff.results.samples import averaged
from sciriff.results.scores import ColumnScore, OtherParity, TaskDifferences
from sciriff.results.statistics import SAME
from sciriff.tasks.task import Scored, Task

OTHER = {"none": "reference", "reference": "none"}


def scored_by_other_rules(
    task: Task, answers: Iterable[tuple[str, str]], scored: Sequence[Scored], parity: bool
) -> list[Scored]:
    """Score (prediction, reference) pairs by the rules that did not give `scored`.

    Only answers that the two can differ on are scored again. The judge's ratings stay: they are of the text it saw.
    """
    return [
        replace(task.score(prediction, reference, not parity), judge=row.judge)
        if task.parity_matters(prediction)
        else row
        for (prediction, reference), row in zip(answers, scored, strict=True)
    ]


def task_differences(
    task: Task, scored: Sequence[Sequence[Scored]], other: Sequence[Sequence[Scored]]
) -> TaskDifferences | None:
    """Compare the samples under the rules in use and the `other` ones; details are means. None if all are equal."""
    pairs = zip(chain(*scored), chain(*other), strict=True)
    answers = [row for row, other_row in pairs if row != other_row]
    if not answers:
        return None
    details, others = (averaged([task.details(sample) for sample in samples]) for samples in (scored, other))
    return {
        "answers": len(answers),
        "judged": sum(bool(row.judge.rated) for row in answers),
        "details": {name: value for name, value in others.items() if abs(value - details[name]) > SAME},
    }


def other_parity(
    tasks: Sequence[Task], parity: str, columns: Mapping[str, ColumnScore], differences: Mapping[str, TaskDifferences]
) -> OtherParity:
    """Build `other_parity` of scores.json: columns (0-1) that differ from the summary's, mean and median with them."""
    differing = {
        column: differences[task.name]["details"][flat]
        for task in tasks
        if task.name in differences
        for column, flat in task.flat_names.items()
        if flat in differences[task.name]["details"]
    }
    values = ({name: column["value"] for name, column in columns.items()} | differing).values()
    return {
        "parity": OTHER[parity],
        "columns": differing,
        "mean": fmean(values) if values else None,
        "median": median(values) if values else None,
        "tasks": dict(differences),
    }
