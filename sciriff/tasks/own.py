"""Tasks of one's own: a name and a metric make a held-out task, which stands after the nine of SciRIFF."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sciriff.tasks import HELD_OUT, NAMES
from sciriff.tasks.metrics.claim_f1 import claim_f1
from sciriff.tasks.metrics.entity_f1 import entity_f1
from sciriff.tasks.metrics.json_answer import json_list, json_list_repaired, json_object
from sciriff.tasks.metrics.label_accuracy import label_accuracy
from sciriff.tasks.metrics.list_f1 import list_f1
from sciriff.tasks.metrics.qa_f1 import qa_f1
from sciriff.tasks.metrics.text_overlap import rouge
from sciriff.tasks.metrics.tuple_f1 import any_tuple_f1
from sciriff.tasks.scifact import SCIFACT
from sciriff.tasks.task import Task

_PATTERNS = (
    Task(
        name="list_f1",
        parse=json_list,
        empty=[],
        metric=list_f1,
        summary={"f1": "all_f1"},
        headline=("f1",),
        strict=True,
    ),
    Task(
        name="entity_f1",
        parse=json_object,
        empty={},
        metric=entity_f1,
        summary={"f1": "all_typed_f1", "f1_untyped": "all_untyped_f1"},
        headline=("f1",),
        strict=True,
    ),
    Task(
        name="tuple_f1",
        parse=json_list_repaired,
        empty=[],
        metric=any_tuple_f1,
        summary={"f1_exact": "all_exact_f1", "f1_substring": "all_substring_f1", "f1_overlap": "all_overlap_f1"},
        headline=("f1_overlap",),
        strict=True,
    ),
    Task(
        name="claim_f1",
        parse=json_object,
        empty=SCIFACT.empty,
        metric=claim_f1,
        summary=SCIFACT.summary,
        headline=SCIFACT.headline,
        strict=True,
    ),
    Task(
        name="qa_f1",
        parse=json_object,
        empty={"answer": None, "evidence": None},
        metric=qa_f1,
        summary={"f1_answer": "all_f1_answer_all", "f1_evidence": "all_f1_evidence_all"},
        headline=("f1_answer", "f1_evidence"),
        strict=True,
    ),
    Task(name="label_accuracy", metric=label_accuracy, summary={"accuracy": "accuracy"}, headline=("accuracy",)),
    Task(
        name="rouge",
        metric=rouge,
        summary={"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rougeL"},
        headline=("rougeL",),
    ),
    Task(name="bleu", summary={"bleu": "bleu"}, headline=("bleu",)),
)
METRICS: dict[str, Task] = {pattern.name: pattern for pattern in _PATTERNS}
"""Name of a metric -> the task that it makes, but for the name. None has a judge."""


def own_task(name: str, metric: str) -> Task:
    """The task of this name that is scored by one of METRICS. Tables show its whole name."""
    return replace(METRICS[metric], name=name, label=name)


def held_out(own: Mapping[str, str]) -> tuple[Task, ...]:
    """The nine tasks of SciRIFF, then by name those of `own` (name -> metric)."""
    return (*HELD_OUT, *(own_task(name, own[name]) for name in sorted(own) if name not in NAMES))


def names_of(tasks: Iterable[Task]) -> tuple[str, ...]:
    """Names of some tasks, in their order."""
    return tuple(task.name for task in tasks)


def columns_of(tasks: Iterable[Task]) -> tuple[str, ...]:
    """Columns of the summary of some tasks, in their order."""
    return tuple(column for task in tasks for column in task.columns)
