"""BioASQ: list every entity that answers a biomedical question."""

from sciriff.tasks.metrics.json_answer import json_list
from sciriff.tasks.metrics.list_f1 import list_f1
from sciriff.tasks.task import Task

BIOASQ = Task(
    name="bioasq_list_qa",
    parse=json_list,
    empty=[],
    metric=list_f1,
    summary={"f1": "all_f1"},
    headline=("f1",),
)
