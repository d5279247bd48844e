"""The instances that several runs all answered, and the columns that can be compared on them."""

from collections.abc import Iterable, Mapping, Sequence

from sciriff.data.records import AnswerKey
from sciriff.results.finished_runs import FinishedRun, tasks_of
from sciriff.results.per_instance import InstanceNumbers
from sciriff.results.scores import SELECTED
from sciriff.results.shared_documents import SharedDocuments
from sciriff.results.task_columns import TaskColumns, parts, vectors
from sciriff.run.user_error import UserError
from sciriff.tasks.task import Task


def common_parts(runs: Sequence[FinishedRun]) -> tuple[list[TaskColumns], list[str]]:
    """Return the columns that all runs have, on the instances that all of them answered, and notes on the others."""
    first = runs[0]
    for run in runs:
        if run.parity != first.parity:
            raise UserError(
                f"{first.folder} was scored with eval.parity={first.parity} and {run.folder} with "
                f"eval.parity={run.parity}; score both by the same rules"
            )
    notes = [
        f"{run.name}: {SELECTED}: {', '.join(columns)}"
        for run in runs
        if (columns := [name for name, score in run.scores.items() if "selected" in score])
    ]
    found = [part for task in tasks_of(runs) for part in _shared_parts(task, runs, notes)]
    if not found:
        names = " and ".join(run.name for run in runs)
        raise UserError(
            f"{names} share no instances that a column is made of, so nothing can be compared"
            + (f" ({'; '.join(notes)})" if notes else "")
        )
    return found, notes


def _shared_parts(task: Task, runs: Sequence[FinishedRun], notes: list[str]) -> list[TaskColumns]:
    """Return the columns of a task on the instances that all runs answered; add to `notes` what is left out."""
    tables = [run.numbers.get(task.name, {}) for run in runs]
    if not any(tables):
        return []
    scored_as = [[other for other in run.tasks if other.name == task.name] for run in runs]
    if any(found != [task] for found, table in zip(scored_as, tables, strict=True) if table):
        notes.append(f"{task.name}: the runs were scored by different metrics")
        return []
    answered = [{instance_id for instance_id, _ in table} for table in tables]
    shared = sorted(answered[0].intersection(*answered))  # an order of its own: the runs' may differ
    counts = sorted({len(instances) for instances in answered})
    if not shared:
        lacking = [run.name for run, table in zip(runs, tables, strict=True) if not table]
        notes.append(f"{task.name}: {f'not in {lacking[0]}' if lacking else 'no instance is shared'}")
        return []
    if len(shared) < counts[-1]:
        notes.append(f"{task.name}: shared instances: only {len(shared)} of {' and '.join(map(str, counts))}")
    references = [{instance_id: row.reference for (instance_id, _), row in table.items()} for table in tables]
    odd = sum(len({of_run[instance_id] for of_run in references}) > 1 for instance_id in shared)
    if odd:
        notes.append(f"{task.name}: the runs were given different references for {odd} of the {len(shared)} instances")
    found = parts(
        task,
        [vectors(task, {key: row.vector for key, row in table.items()}, shared) for table in tables],
        _documents(tables, shared),
    )
    for column in task.judged_columns:
        judges = [run.judges.get(task.name) for run in runs]
        if not any(column in part.columns for part in found):
            if any(judges):
                notes.append(f"{column}: not judged in every run")
        elif len(set(judges)) > 1:
            notes.append(f"{column}: judged by {' and by '.join(sorted({str(judge) for judge in judges}))}")
    return found


def _documents(
    tables: Sequence[Mapping[AnswerKey, InstanceNumbers]], instances: Sequence[str]
) -> list[tuple[str, ...] | None]:
    """Names of the documents that the instances are about: two have the same if every run that knows documents of this
    task says so. None where one of these does not know an instance's."""
    known = [{i: row.document for (i, _), row in table.items()} for table in tables]
    known = [of_run for of_run in known if any(of_run.values())]
    found = []
    for instance in instances:
        names = tuple(document for of_run in known if (document := of_run[instance]) is not None)
        found.append(names if names and len(names) == len(known) else None)
    return found


def shared_documents(parts: Iterable[TaskColumns]) -> list[SharedDocuments]:
    """The tasks with fewer documents than instances."""
    return [SharedDocuments(part.task.name, part.documents, part.n) for part in parts if part.documents < part.n]


def count_instances(counts: Iterable[tuple[str, int]]) -> int:
    """Count instances, given (task, instances behind one of its columns)."""
    return sum(dict(sorted(counts)).values())  # the largest of each task
