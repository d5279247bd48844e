"""What is exported: which held-out tasks, with rows from a local file or folder or from a dataset of the hub."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from sciriff.config import SAMPLE, EvalConfig, SourceConfig, conf_dir, nearest
from sciriff.data.instances import read_instances
from sciriff.data.records import Instance
from sciriff.data.source_files import SUFFIXES, instances_source
from sciriff.data.task_card import own_tasks
from sciriff.export.scoring import columns_without_judge
from sciriff.run.json_lines import dumps
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line
from sciriff.tasks.own import names_of
from sciriff.tasks.task import Task

IN_SAMPLE = re.compile(r"\$\{sample:(.+)\}")
"""A file of the bundled sample, as keys of the config name it."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ExportedTask:
    task: Task
    metric: str | None
    """Name of the metric of a task of one's own."""
    rows: list[Instance]
    """Empty where they stay on the hub."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Short names of the columns that need no judge; one at least."""
        return columns_without_judge(self.task)

    @property
    def arguments(self) -> str:
        """What `Scoring` is called with, as Python text."""
        return ", ".join(json.dumps(text) for text in (self.task.name, self.metric) if text is not None)


@dataclass(frozen=True)
class Exported:
    tasks: list[ExportedTask]
    hub: SourceConfig | None
    """Dataset of the hub that has the rows; None where they are in the tasks."""
    max_new_tokens: int
    left_out: list[str]
    """Columns that only a judge can fill."""


def rows_files(exported: Exported) -> dict[str, str]:
    """Name -> text of the files with rows, in SciRIFF's format; none where a hub has them."""
    return {
        f"data/{one.task.name}.jsonl": "".join(
            dumps({"_instance_id": row.instance_id, "input": row.prompt, "output": row.reference}) + "\n"
            for row in one.rows
        )
        for one in exported.tasks
        if exported.hub is None
    }


def defaults() -> EvalConfig:
    """The paper's evaluation, conf/eval/sciriff.yaml, which an export follows unless told otherwise."""
    values = OmegaConf.merge(OmegaConf.structured(EvalConfig), OmegaConf.load(conf_dir() / "eval" / "sciriff.yaml"))
    found = OmegaConf.to_object(values)
    assert isinstance(found, EvalConfig)
    return found


def exported(
    data: str | None, config: str | None, split: str | None, names: Sequence[str] | None, max_new_tokens: int | None
) -> Exported:
    """Settle what a command line asks for; None is the paper's choice. UserError for data that is not there, a row that
    cannot be asked or scored, and a name of no task."""
    paper = defaults()
    if data is not None and (found := IN_SAMPLE.fullmatch(data)):
        data = str(SAMPLE / found[1])
    local = data is not None and _is_local(data)
    evaluation = EvalConfig(
        path=data if local else None,
        source=paper.source if data is None or local else SourceConfig(hub=data),
        split=split or paper.split,
        max_new_tokens=max_new_tokens or paper.max_new_tokens,
    )
    if config is not None:
        if local:
            raise UserError(f"--config {config} is of a dataset of the hub, and --data {data} is none; leave it out")
        evaluation.source.config = config
    own = own_tasks(Path(str(data)).expanduser()) if local else {}
    evaluation.own_tasks = own
    wanted = _wanted(names, evaluation.held_out)
    rows: dict[str, list[Instance]] = {}
    if local:
        evaluation.tasks = list(names_of(wanted)) if names else None
        rows = read_instances(evaluation)
        wanted = [task for task in wanted if task.name in rows]
        _check_references(wanted, rows)
    left_out = [column for task in wanted for column in task.judged_columns]
    tasks = [
        ExportedTask(task, own.get(task.name), rows.get(task.name, []))
        for task in wanted
        if columns_without_judge(task)
    ]
    if not tasks:
        raise UserError(f"{data} has instances only of tasks that a judge scores: {', '.join(names_of(wanted))}")
    return Exported(tasks, None if local else instances_source(evaluation), evaluation.max_new_tokens, left_out)


def _is_local(data: str) -> bool:
    """Whether `data` names a file or folder here. UserError if it can be neither that nor a hub's dataset."""
    if Path(data).expanduser().exists():
        return True
    if data.endswith(SUFFIXES) or not HUB_ID.fullmatch(data):
        raise UserError(
            f"--data {visible_line(data)}: there is no such file or folder, and it is no OWNER/NAME of a hub"
        )
    return False


def _wanted(names: Sequence[str] | None, known: Sequence[Task]) -> list[Task]:
    """The chosen ones of `known`, in their order. UserError for a name of none, or of one that only a judge scores."""
    for name in names or ():
        found = [task for task in known if task.name == name]
        if not found:
            raise UserError(f"--tasks: {visible_line(name)!r} is not a held-out task{nearest(name, names_of(known))}")
        if not columns_without_judge(found[0]):
            raise UserError(
                f"--tasks: {name} is scored by a judge alone ({', '.join(found[0].columns)}), which no harness has; "
                "leave it out"
            )
    return [task for task in known if names is None or task.name in names]


def _check_references(tasks: Sequence[Task], rows: dict[str, list[Instance]]) -> None:
    """UserError for the first reference that cannot be scored, which a harness would find after all its answers."""
    for task in tasks:
        for row in rows[task.name]:
            try:
                row.reference.encode()  # lone surrogates can be written to no file of rows
                task.score("", row.reference)
            except ValueError as error:
                raise UserError(f"{visible_line(row.instance_id)}: {visible_line(error)}") from None
