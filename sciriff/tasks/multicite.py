"""MultiCite: name the intents with which a paper is cited."""

from sciriff.tasks.metrics.json_answer import json_list
from sciriff.tasks.metrics.list_f1 import list_f1
from sciriff.tasks.task import Task

MULTICITE = Task(
    name="multicite_intent_classification",
    parse=json_list,
    empty=[],
    metric=list_f1,
    summary={"f1": "all_f1"},
    headline=("f1",),
)
