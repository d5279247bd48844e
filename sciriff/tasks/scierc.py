"""SciERC: find tasks, methods, materials and other entities in a computer science abstract."""

from sciriff.tasks.metrics.entity_f1 import entity_f1
from sciriff.tasks.metrics.json_answer import json_object
from sciriff.tasks.task import Task

SCIERC = Task(
    name="scierc_ner",
    parse=json_object,
    empty={kind: [] for kind in ("Generic", "Material", "Method", "Metric", "OtherScientificTerm", "Task")},
    metric=entity_f1,
    summary={"f1": "all_typed_f1"},
    headline=("f1",),
)
