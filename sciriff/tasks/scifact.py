"""SciFact: decide whether an abstract supports or contradicts a claim, and cite the sentences that do."""

from sciriff.tasks.metrics.claim_f1 import NO_VERDICT, claim_f1, claim_f1_of_reference
from sciriff.tasks.metrics.json_answer import json_object
from sciriff.tasks.task import Task

SCIFACT = Task(
    name="scifact_entailment",
    parse=json_object,
    empty={"verdict": NO_VERDICT, "evidence": []},
    metric=claim_f1,
    parity_metric=claim_f1_of_reference,
    summary={
        "f1_label": "all_label_f1",
        "f1_evidence_sent": "all_evidence_sent_f1",
        "f1_evidence_token": "all_evidence_tok_f1",
    },
    headline=("f1_label", "f1_evidence_token"),
)
