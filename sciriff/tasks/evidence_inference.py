"""Evidence Inference: list the findings of a clinical trial, each as a tuple of five texts."""

from sciriff.tasks.metrics.json_answer import json_list_repaired
from sciriff.tasks.metrics.tuple_f1 import tuple_f1
from sciriff.tasks.task import Task

EVIDENCE_INFERENCE = Task(
    name="evidence_inference",
    parse=json_list_repaired,
    empty=[],
    metric=tuple_f1,
    summary={"f1_exact": "all_exact_f1", "f1_substring": "all_substring_f1", "f1_overlap": "all_overlap_f1"},
    headline=("f1_overlap",),
    label="evidence_inference",
)
