"""MuP: summarise a paper in a few sentences."""

from sciriff.tasks.metrics.judge_rating import MUP_JUDGE
from sciriff.tasks.metrics.text_overlap import rouge
from sciriff.tasks.task import JudgedPart, Task

MUP = Task(
    name="mup_single_document_summarization",
    metric=rouge,
    summary={"lm_judge_reference": "lm_judge_reference_comparison_avg_rating", "rouge": "rougeL"},
    headline=("lm_judge_reference",),
    judged=JudgedPart(
        rule=MUP_JUDGE,
        details={
            "lm_judge_reference_comparison_n_samples": "n_samples",
            "lm_judge_reference_comparison_avg_rating": "avg_rating",
        },
    ),
)
