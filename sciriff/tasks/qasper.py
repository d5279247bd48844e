"""Qasper: answer a question about a paper and cite the paragraphs that support the answer."""

from sciriff.tasks.metrics.json_answer import json_object
from sciriff.tasks.metrics.judge_rating import QASPER_JUDGE
from sciriff.tasks.metrics.qa_f1 import qa_f1
from sciriff.tasks.task import JudgedPart, Task

QASPER = Task(
    name="qasper_abstractive_qa",
    parse=json_object,
    empty={"answer": None, "evidence": None},
    metric=qa_f1,
    summary={"lm_judge_answer": "all_lm_judge", "f1_answer": "all_f1_answer_all", "f1_evidence": "all_f1_evidence_all"},
    headline=("lm_judge_answer", "f1_evidence"),
    judged=JudgedPart(rule=QASPER_JUDGE, details={"all_lm_judge": "avg_rating"}, answer_field="with_answer"),
)
