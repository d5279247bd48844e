"""What the same answers score under the other value of `eval.parity`, wherever that is another number.

Scoring has two sets of rules: ours, and the reference code's with its traps. `other_parity` in scores.json holds the
other set's value of every column and detail in which they part, so that a number can be set beside an old one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median

from sciriff.results.samples import averaged
from sciriff.results.scores import ColumnScore, OtherParity, TaskDifferences
from sciriff.tasks.task import Scored, Task

SAME = 1e-12
"""Values that are closer than this differ by rounding."""
OTHER = {"none": "reference", "reference": "none"}


def scored_by_other_rules(
    task: Task, answers: Iterable[tuple[str, str]], scored: Sequence[Scored], parity: bool
) -> list[Scored]:
    """The (prediction, reference) pairs as the rules score them that were not used; `scored` is what the others gave.

    Only answers that the two can part on are scored again. Ratings are the judge's of what it was shown, under either.
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
    """How many answers count otherwise under the other rules, how many of these a judge rated (it would be shown
    another text), and the details (0-1) that have another value there. None where nothing differs.

    Both are the answers of each sample; details are their means.
    """
    answers = [
        row
        for rows, others in zip(scored, other, strict=True)
        for row, there in zip(rows, others, strict=True)
        if row != there
    ]
    if not answers:
        return None
    here, there = (averaged([task.details(sample) for sample in samples]) for samples in (scored, other))
    return {
        "answers": len(answers),
        "judged": sum(bool(row.judge.rated) for row in answers),
        "details": {name: value for name, value in there.items() if abs(value - here[name]) > SAME},
    }


def other_parity(
    tasks: Sequence[Task],
    parity: str,
    columns: Mapping[str, ColumnScore],
    differences: Mapping[str, TaskDifferences],
) -> OtherParity:
    """What scores.json says of the other rules: `differences` by task, those of `columns` (the summary's, 0-1) that
    have another value there, and the mean and the median with these."""
    there = {name: column["value"] for name, column in columns.items()}
    differing = {}
    for task in tasks:
        for column, short in zip(task.columns, task.headline, strict=True):
            if task.name in differences and task.summary[short] in differences[task.name]["details"]:
                differing[column] = differences[task.name]["details"][task.summary[short]]
    there |= differing
    return {
        "parity": OTHER[parity],
        "columns": differing,
        "mean": fmean(there.values()) if there else None,
        "median": median(there.values()) if there else None,
        "tasks": dict(differences),
    }
